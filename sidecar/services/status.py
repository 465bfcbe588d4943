"""From Usher's errors to statuses: one table, and google.rpc details with a stable reason.

Details follow AIP-193: exactly one ErrorInfo, BadRequest for fields, RetryInfo where a retry may help.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from sidecar.core.errors import FieldViolation, Reason, UsherError
from sidecar.services.convert import duration

DOMAIN: Final = "usher"
"""The `domain` of every ErrorInfo."""


class Code(enum.IntEnum):
    """The canonical codes, by name and number (google/rpc/code.proto). All transports have the same."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_INVALID = Code.INVALID_ARGUMENT
_DENIED = Code.PERMISSION_DENIED
_UNAUTHENTICATED = Code.UNAUTHENTICATED
_PRECONDITION = Code.FAILED_PRECONDITION
_EXHAUSTED = Code.RESOURCE_EXHAUSTED
_DEADLINE = Code.DEADLINE_EXCEEDED

CODES: Final[dict[Reason, Code]] = {
    Reason.MALFORMED_REQUEST: _INVALID,
    Reason.INVALID_FIELD: _INVALID,
    Reason.CLAIM_RESERVED: _INVALID,
    Reason.CLAIM_NAME_INVALID: _INVALID,
    Reason.CLAIM_NOT_EXACT: _INVALID,
    Reason.CLAIMS_TOO_LARGE: _INVALID,
    Reason.CLAIMS_TOO_DEEP: _INVALID,
    Reason.TTL_OUT_OF_RANGE: _INVALID,
    Reason.TOKEN_MALFORMED: _UNAUTHENTICATED,
    Reason.TOKEN_EXPIRED: _UNAUTHENTICATED,
    Reason.TOKEN_NOT_YET_VALID: _UNAUTHENTICATED,
    Reason.TOKEN_SIGNATURE_INVALID: _UNAUTHENTICATED,
    Reason.TOKEN_KEY_UNKNOWN: _UNAUTHENTICATED,
    Reason.TOKEN_ALGORITHM_REFUSED: _UNAUTHENTICATED,
    Reason.TOKEN_ISSUER_MISMATCH: _UNAUTHENTICATED,
    Reason.TOKEN_AUDIENCE_MISMATCH: _UNAUTHENTICATED,
    Reason.TOKEN_REVOKED: _UNAUTHENTICATED,
    Reason.KEY_UNKNOWN: Code.NOT_FOUND,
    Reason.LEAD_TIME_NOT_ELAPSED: _PRECONDITION,
    Reason.SIGNING_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.KEY_SET_FULL: _PRECONDITION,
    Reason.KEY_STORE_CONFLICT: Code.ABORTED,
    Reason.KEY_STORE_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.VERIFIER_NOT_SEEN: _PRECONDITION,
    Reason.SQL_EMPTY: _INVALID,
    Reason.SQL_TOO_LARGE: _INVALID,
    Reason.MULTIPLE_STATEMENTS: _INVALID,
    Reason.STATEMENT_NOT_ALLOWED: _DENIED,
    Reason.SQL_SYNTAX: _INVALID,
    Reason.UNDEFINED_OBJECT: _INVALID,
    Reason.PARAMETER_COUNT: _INVALID,
    Reason.PARAMETER_TYPE: _INVALID,
    Reason.DATA_EXCEPTION: _INVALID,
    Reason.STATEMENT_INVALID: _INVALID,
    Reason.RESULT_TOO_LARGE: _EXHAUSTED,
    Reason.READ_ONLY: _PRECONDITION,
    Reason.ROW_LEVEL_SECURITY: _DENIED,
    Reason.INSUFFICIENT_PRIVILEGE: _DENIED,
    Reason.UNIQUE_VIOLATION: Code.ALREADY_EXISTS,
    Reason.FOREIGN_KEY_VIOLATION: _PRECONDITION,
    Reason.NOT_NULL_VIOLATION: _PRECONDITION,
    Reason.CHECK_VIOLATION: _PRECONDITION,
    Reason.CONSTRAINT_VIOLATION: _PRECONDITION,
    Reason.RAISED_BY_DATABASE: _PRECONDITION,
    Reason.CLAIMS_TAMPERED: _DENIED,
    Reason.SERIALIZATION_FAILURE: Code.ABORTED,
    Reason.DEADLOCK: Code.ABORTED,
    Reason.LOCK_NOT_AVAILABLE: Code.ABORTED,
    Reason.STATEMENT_TIMEOUT: _DEADLINE,
    Reason.DEADLINE_EXCEEDED: _DEADLINE,
    Reason.POOL_EXHAUSTED: _EXHAUSTED,
    Reason.DATABASE_RESOURCES: _EXHAUSTED,
    Reason.DATABASE_UNAVAILABLE: Code.UNAVAILABLE,
    Reason.DATABASE_NOT_INSTALLED: _PRECONDITION,
    Reason.DATABASE_ERROR: Code.UNKNOWN,
    Reason.SHUTTING_DOWN: Code.UNAVAILABLE,
    Reason.INTERNAL: Code.INTERNAL,
    Reason.TOO_MANY_CALLS: _EXHAUSTED,
    Reason.CALLER_UNAUTHENTICATED: _UNAUTHENTICATED,
    Reason.POLICY_REFUSED: _DENIED,
    Reason.RATE_LIMITED: _EXHAUSTED,
    Reason.NAMED_STATEMENT_UNKNOWN: Code.NOT_FOUND,
}
"""The code of every reason. docs/errors.md shows the same table."""

_RETRY_AFTER_SECONDS: Final = 1.0
LONGEST_MESSAGE: Final = 800
_LONGEST_VALUE: Final = 200
_LARGEST_DETAILS: Final = 3072
"""Bytes. A status travels in HTTP/2 headers, of which many peers take 8 KiB in all; there each byte of the
message that is no ASCII becomes three, and three bytes of the details become four."""


def rich_status(error: UsherError, request_id: str) -> status_pb2.Status:
    """The google.rpc.Status of an error, with its details; of very many violations only the first."""
    violations = list(error.violations)
    status = _rich_status(error, violations, request_id)
    while violations and status.ByteSize() > _LARGEST_DETAILS:
        violations = violations[: len(violations) // 2]
        status = _rich_status(error, violations, request_id)
    return status


def _rich_status(
    error: UsherError, violations: Sequence[FieldViolation], request_id: str
) -> status_pb2.Status:
    metadata = {key: cut(value, _LONGEST_VALUE) for key, value in error.metadata.items()}
    metadata["request_id"] = request_id
    details = [error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata)]
    if violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=cut(violation.field, _LONGEST_VALUE),
                        description=cut(violation.description, _LONGEST_VALUE),
                        reason=error.reason.value,
                    )
                    for violation in violations
                ]
            )
        )
    if error.retryable:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration(retry_after(error))))
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return status_pb2.Status(
        code=CODES[error.reason].value, message=cut(error.message, LONGEST_MESSAGE), details=packed
    )


def cut(text: str, longest: int) -> str:
    """The text, cut to so many bytes of UTF-8. What UTF-8 cannot write never reaches the wire."""
    return text.encode("utf-8", "replace")[:longest].decode("utf-8", "ignore")


def retry_after(error: UsherError) -> float:
    """Seconds after which to try again what may be retried."""
    return _RETRY_AFTER_SECONDS if error.retry_after is None else error.retry_after
