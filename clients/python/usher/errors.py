"""The one error of the client, and how it is read off a gRPC status."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

# The messages of google.rpc, in a pool of their own: the package that has them may or may not be installed.
_STATUS: Final = """
name: "usher/status.proto" package: "usher.status" syntax: "proto3"
message_type { name: "Any"
  field { name: "type_url" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "value" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL } }
message_type { name: "Status"
  field { name: "details" number: 3 type: TYPE_MESSAGE type_name: ".usher.status.Any" label: LABEL_REPEATED } }
message_type { name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "ErrorInfo"
  field { name: "reason" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "metadata" number: 3 type: TYPE_MESSAGE type_name: ".usher.status.Entry" label: LABEL_REPEATED } }
message_type { name: "FieldViolation"
  field { name: "field" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "description" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "BadRequest"
  field { name: "violations" number: 1 type: TYPE_MESSAGE type_name: ".usher.status.FieldViolation" label: LABEL_REPEATED } }
message_type { name: "Delay"
  field { name: "seconds" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "nanos" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL } }
message_type { name: "RetryInfo"
  field { name: "delay" number: 1 type: TYPE_MESSAGE type_name: ".usher.status.Delay" label: LABEL_OPTIONAL } }
"""  # noqa: E501 - a message a paragraph
_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(text_format.Parse(_STATUS, descriptor_pb2.FileDescriptorProto()).SerializeToString())

_AGAIN: Final = {"SERIALIZATION_FAILURE", "DEADLOCK", "LOCK_NOT_AVAILABLE", "SHUTTING_DOWN"}
_OWN: Final = {
    "UNAVAILABLE": "CLIENT_UNREACHABLE",
    "DEADLINE_EXCEEDED": "CLIENT_DEADLINE",
    "CANCELLED": "CLIENT_CANCELLED",
    "RESOURCE_EXHAUSTED": "CLIENT_MESSAGE_TOO_LARGE",
}


class UsherError(Exception):
    """A call that was refused or failed. Branch on `reason`; the message is for people."""

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(code, reason, message)  # what a copy in another process is made of
        self.code = code
        """The gRPC status, such as INVALID_ARGUMENT."""
        self.reason = reason
        """A reason of docs/errors.md, or one that begins with CLIENT_ (clients/CONTRACT.md)."""
        self.message = message
        self.metadata: Mapping[str, str] = {}
        self.fields: Mapping[str, str] = {}
        """What is wrong, by field of the request."""
        self.retry_delay: datetime.timedelta | None = None
        """How long the server asks to wait before another try."""
        self.retryable = False
        """Whether the same call may succeed later without harm."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def sqlstate(self) -> str | None:
        """The SQLSTATE of Postgres (Appendix A of its documentation), if it was the one that refused."""
        return self.metadata.get("sqlstate")

    @property
    def request_id(self) -> str | None:
        """What the server's log knows the call by."""
        return self.metadata.get("request_id")

    @property
    def statement_index(self) -> int | None:
        """Which statement of a transaction failed, counted from 0; None when it was no single one."""
        index = self.metadata.get("statement_index")
        return None if index is None else int(index)


def invalid(message: str, reason: str = "CLIENT_INVALID") -> UsherError:
    """What the client refuses before it sends anything."""
    return UsherError("INVALID_ARGUMENT", reason, message)


def closed() -> UsherError:
    """A call on a client that was closed."""
    return UsherError("CANCELLED", "CLIENT_CLOSED", "the client was closed; make a new one")


def from_grpc(error: Any, *, repeatable: bool) -> UsherError:
    """The error of a call that gRPC ended; `error` is a grpc.RpcError that is a grpc.Call."""
    code = error.code().name
    message = error.details() or ""
    details = _details(error.trailing_metadata() or ())
    info = details.get("ErrorInfo")
    found = UsherError(code, info.reason if info else _OWN.get(code, "CLIENT_OTHER"), message)
    if info:
        found.metadata = {entry.key: entry.value for entry in info.metadata}
    if bad := details.get("BadRequest"):
        found.fields = {violation.field: violation.description for violation in bad.violations}
    if retry := details.get("RetryInfo"):
        found.retry_delay = datetime.timedelta(
            seconds=retry.delay.seconds, microseconds=retry.delay.nanos // 1000
        )
    found.retryable = (
        found.retry_delay is not None
        or found.reason in _AGAIN
        or (repeatable and found.reason == "CLIENT_UNREACHABLE")
    )
    return found


def _details(metadata: Any) -> dict[str, Any]:
    status = next((value for key, value in metadata if key == "grpc-status-details-bin"), b"")
    found = {}
    for detail in _parse("Status", status).details:
        name = detail.type_url.rpartition(".")[2]
        if name in ("ErrorInfo", "BadRequest", "RetryInfo"):
            found[name] = _parse(name, detail.value)
    return found


def _parse(name: str, octets: bytes) -> Any:
    made = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"usher.status.{name}"))
    return made.FromString(octets)
