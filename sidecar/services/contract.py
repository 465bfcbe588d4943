"""The contract as data: request classes that carry their validation rules, and the checks made from them.

The stubs in clients/python are free of the rules, so that a client needs no validation library. The server
reads the same contract with the rules from contract.binpb (`make proto` writes both).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

import protovalidate
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message

from sidecar.core.errors import FieldViolation, Reason, UsherError, invalid_field
from sidecar.services.sure_rules import LOOKS, Look, not_sure

M = TypeVar("M", bound=Message)

MAX_ELEMENTS: Final = 65_535
"""Elements of all lists of a request together: as many parameters as Postgres takes."""
MAX_SCALARS: Final = 1000
"""Elements of one list of texts or numbers, such as audiences."""
MAX_STRUCT_BYTES: Final = 64 * 1024
"""Of claims as they travel; what core admits is far smaller (core/claims.py)."""
_MAX_JSON_DEPTH: Final = 100
"""Messages inside messages, as in protobuf itself."""
_STRUCT: Final = "google.protobuf.Struct"


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    """A pool of its own: the default one holds the stubs, which have the same names."""
    files = descriptor_pb2.FileDescriptorSet.FromString(
        (resources.files("sidecar.services") / "contract.binpb").read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def request_parser(stub_class: type[M], max_bytes: int = 2**31) -> Callable[[bytes], M]:
    """A function from bytes to a checked request of at most `max_bytes`.

    The message it returns has the fields of `stub_class`. It raises UsherError: MALFORMED_REQUEST for bytes
    that are no such message, INVALID_FIELD with every violation for one that breaks a rule or is too large.
    """
    message_class: Any = _ruled(stub_class)

    def decode(data: bytes) -> M:
        try:
            message: M = message_class.FromString(data)
        except DecodeError:
            raise _malformed(stub_class, "use the published contract") from None
        return message

    return _checking(decode, max_bytes, _look(stub_class))


def json_parser(stub_class: type[M], max_bytes: int = 2**31) -> Callable[[bytes], M]:
    """As request_parser, from JSON (protobuf.dev/programming-guides/json).

    A field that the contract does not have is refused: a misspelt `readOnly` must not become a write.
    """
    message_class: Any = _ruled(stub_class)

    def decode(data: bytes) -> M:
        try:
            message: M = json_format.Parse(
                data, message_class(), descriptor_pool=_pool(), max_recursion_depth=_MAX_JSON_DEPTH
            )
        except (json_format.ParseError, ValueError, TypeError, RecursionError):
            # The cause may repeat what the caller sent.
            raise _malformed(
                stub_class,
                "JSON names fields as the contract does, has no others, and 64-bit numbers as text",
            ) from None
        return message

    return _checking(decode, max_bytes, _look(stub_class))


def _ruled(stub_class: type[Message]) -> Any:
    """The class of the same message, with its rules."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(stub_class.DESCRIPTOR.full_name))


def _look(stub_class: type[Message]) -> Look:
    """The quick look at its messages."""
    return LOOKS.get(stub_class.DESCRIPTOR.full_name, not_sure)


def _malformed(stub_class: type[Message], remedy: str) -> UsherError:
    return UsherError(
        Reason.MALFORMED_REQUEST, f"the request is not a valid {stub_class.DESCRIPTOR.full_name}; {remedy}"
    )


def _checking(decode: Callable[[bytes], M], max_bytes: int, look: Look) -> Callable[[bytes], M]:
    """A parser from what makes a message of bytes. Of what `look` is sure, protovalidate is not asked."""

    def parse(data: bytes) -> M:
        if len(data) > max_bytes:
            raise invalid_field("request", f"has {len(data)} bytes, the limit is {max_bytes}; send less")
        message = decode(data)
        # Before the rules: they would look at every element, however many there are. An element takes a byte.
        if len(data) > MAX_SCALARS:
            _check_element_count(message)
        if look(message):
            return message
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


def _check_element_count(message: Message) -> None:
    """Raises UsherError INVALID_FIELD when the lists of a request together have more than MAX_ELEMENTS."""
    left, open_lists = MAX_ELEMENTS, [("", message)]
    while open_lists:
        path, current = open_lists.pop()
        for field, value in current.ListFields():
            name = f"{path}{field.name}"
            if field.type != field.TYPE_MESSAGE:
                # Texts and numbers; no list of them has a rule that lets more through.
                left -= len(value) * (MAX_ELEMENTS // MAX_SCALARS) if field.is_repeated else 0
                children: list[Message] = []
            elif isinstance(value, Message) and value.DESCRIPTOR.full_name == _STRUCT:
                # Bytes are a bound for whatever is nested in it, and cheaper to count.
                if value.ByteSize() > MAX_STRUCT_BYTES:
                    raise invalid_field(
                        name,
                        f"has {value.ByteSize()} bytes, the limit is {MAX_STRUCT_BYTES}; send references "
                        "instead of data",
                        Reason.CLAIMS_TOO_LARGE,
                    )
                children = []
            elif field.is_repeated:
                left -= len(value)
                children = list(value) if left >= 0 else []
            else:
                children = [value]
            if left < 0:
                raise invalid_field(name, f"the lists of a request may have {MAX_ELEMENTS} elements in all")
            open_lists += [(f"{name}.", child) for child in children]


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
