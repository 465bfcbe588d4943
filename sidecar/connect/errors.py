"""Errors as the Connect protocol writes them: HTTP status and JSON (connectrpc.com/docs/protocol)."""

from __future__ import annotations

import base64
import json
import math
from typing import Any, Final

from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from sidecar.connect.messages import Response
from sidecar.core.errors import UsherError
from sidecar.services.status import Code, retry_after, rich_status

HTTP_STATUS: Final[dict[Code, int]] = {
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""The HTTP status of every code, by the protocol's table."""
JSON_TYPE: Final = b"application/json"
_DETAILS: Final[dict[str, type[Message]]] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
}


def name_of(code: Code) -> str:
    """The code as Connect spells it."""
    return "canceled" if code is Code.CANCELLED else code.name.lower()


def detail_of(packed: any_pb2.Any) -> dict[str, Any]:
    """A detail as the protocol has it: base64 without padding."""
    return {"type": packed.TypeName(), "value": base64.b64encode(packed.value).decode().rstrip("=")}


def error_response(error: UsherError, request_id: str) -> Response:
    """The response to a call that failed, with the details that gRPC has too."""
    code, document = error_document(error, request_id)
    headers: list[tuple[bytes, bytes]] = []
    if error.retryable:
        # Whole seconds (RFC 9110 section 10.2.3); RetryInfo has the fraction.
        headers.append((b"retry-after", b"%d" % math.ceil(retry_after(error))))
    if code is Code.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 section 15.5.2 wants it
    return _response(code, document, headers)


def error_document(error: UsherError, request_id: str) -> tuple[Code, dict[str, Any]]:
    """The code of an error, and its JSON with the details that gRPC has too."""
    status = rich_status(error, request_id)
    details = []
    for packed in status.details:
        detail = _DETAILS[packed.TypeName()].FromString(packed.value)
        details.append(detail_of(packed) | {"debug": json_format.MessageToDict(detail)})
    return Code(status.code), document_of(Code(status.code), status.message, details)


def document_of(code: Code, message: str, details: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON of an error; `details` as the protocol has them."""
    document: dict[str, Any] = {"code": name_of(code), "message": message}
    if details:
        document["details"] = details
    return document


def encode(document: dict[str, Any]) -> bytes:
    """JSON as it is sent."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def plain_error(code: Code, message: str, *headers: tuple[bytes, bytes]) -> Response:
    """The response to what is wrong in the protocol itself, before there is a call."""
    return failure(code, message, [], list(headers))


def failure(
    code: Code, message: str, details: list[dict[str, Any]], headers: list[tuple[bytes, bytes]]
) -> Response:
    """The response with an error; `details` as the protocol has them."""
    return _response(code, document_of(code, message, details), headers)


def _response(code: Code, document: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> Response:
    return Response(HTTP_STATUS[code], JSON_TYPE, encode(document), tuple(headers))
