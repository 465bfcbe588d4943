"""The contract as data: request classes that carry their validation rules, and the checks made from them.

The stubs in clients/python are free of the rules, so that a client needs no validation library. The server
reads the same contract with the rules from contract.binpb (`make proto` writes both).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, TypeVar

import protovalidate
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from sidecar.core.errors import FieldViolation, Reason, UsherError

M = TypeVar("M", bound=Message)


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    """A pool of its own: the default one holds the stubs, which have the same names."""
    files = descriptor_pb2.FileDescriptorSet.FromString(
        (resources.files("sidecar.rpc") / "contract.binpb").read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def request_parser(stub_class: type[M]) -> Callable[[bytes], M]:
    """A function from bytes to a checked request.

    The message it returns has the fields of `stub_class`. It raises UsherError: MALFORMED_REQUEST for bytes
    that are no such message, INVALID_FIELD with every violation for one that breaks a rule.
    """
    message_class: Any = message_factory.GetMessageClass(
        _pool().FindMessageTypeByName(stub_class.DESCRIPTOR.full_name)
    )

    def parse(data: bytes) -> M:
        try:
            message: M = message_class.FromString(data)
        except DecodeError:
            raise UsherError(
                Reason.MALFORMED_REQUEST,
                f"the request is not a valid {stub_class.DESCRIPTOR.full_name}; use the published contract",
            ) from None
        violations = [
            FieldViolation(field_path(violation.proto.field), violation.proto.message)
            for violation in protovalidate.collect_violations(message)
        ]
        if violations:
            raise UsherError(
                Reason.INVALID_FIELD,
                "; ".join(f"{violation.field}: {violation.description}" for violation in violations[:3]),
                {"field": violations[0].field},
                tuple(violations[:20]),
            )
        return message

    return parse


def field_path(path: Any) -> str:
    """A violation's path as text: `audiences[1]`, `scope.principal.subject`."""
    parts = []
    for element in path.elements if path is not None else ():
        name = element.field_name
        subscript = element.subscript
        if subscript is not None:
            name += f"[{subscript.value}]"
        parts.append(name)
    return ".".join(parts) or "request"
