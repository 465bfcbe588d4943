"""The one error family of Usher: what went wrong, whose fault it is, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final


class Reason(enum.StrEnum):
    """The cause of an error. Values equal `usher.v1.ErrorReason` without its prefix; never renamed."""

    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    INVALID_FIELD = "INVALID_FIELD"
    CLAIM_RESERVED = "CLAIM_RESERVED"
    CLAIM_NAME_INVALID = "CLAIM_NAME_INVALID"
    CLAIM_NOT_EXACT = "CLAIM_NOT_EXACT"
    CLAIMS_TOO_LARGE = "CLAIMS_TOO_LARGE"
    CLAIMS_TOO_DEEP = "CLAIMS_TOO_DEEP"
    TTL_OUT_OF_RANGE = "TTL_OUT_OF_RANGE"

    TOKEN_MALFORMED = "TOKEN_MALFORMED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    TOKEN_NOT_YET_VALID = "TOKEN_NOT_YET_VALID"
    TOKEN_SIGNATURE_INVALID = "TOKEN_SIGNATURE_INVALID"
    TOKEN_KEY_UNKNOWN = "TOKEN_KEY_UNKNOWN"
    TOKEN_ALGORITHM_REFUSED = "TOKEN_ALGORITHM_REFUSED"
    TOKEN_ISSUER_MISMATCH = "TOKEN_ISSUER_MISMATCH"
    TOKEN_AUDIENCE_MISMATCH = "TOKEN_AUDIENCE_MISMATCH"
    TOKEN_REVOKED = "TOKEN_REVOKED"

    KEY_UNKNOWN = "KEY_UNKNOWN"
    LEAD_TIME_NOT_ELAPSED = "LEAD_TIME_NOT_ELAPSED"
    SIGNING_UNAVAILABLE = "SIGNING_UNAVAILABLE"
    KEY_SET_FULL = "KEY_SET_FULL"
    KEY_STORE_CONFLICT = "KEY_STORE_CONFLICT"
    KEY_STORE_UNAVAILABLE = "KEY_STORE_UNAVAILABLE"
    VERIFIER_NOT_SEEN = "VERIFIER_NOT_SEEN"

    SQL_EMPTY = "SQL_EMPTY"
    SQL_TOO_LARGE = "SQL_TOO_LARGE"
    MULTIPLE_STATEMENTS = "MULTIPLE_STATEMENTS"
    STATEMENT_NOT_ALLOWED = "STATEMENT_NOT_ALLOWED"
    SQL_SYNTAX = "SQL_SYNTAX"
    UNDEFINED_OBJECT = "UNDEFINED_OBJECT"
    PARAMETER_COUNT = "PARAMETER_COUNT"
    PARAMETER_TYPE = "PARAMETER_TYPE"
    DATA_EXCEPTION = "DATA_EXCEPTION"
    STATEMENT_INVALID = "STATEMENT_INVALID"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    READ_ONLY = "READ_ONLY"

    ROW_LEVEL_SECURITY = "ROW_LEVEL_SECURITY"
    INSUFFICIENT_PRIVILEGE = "INSUFFICIENT_PRIVILEGE"
    UNIQUE_VIOLATION = "UNIQUE_VIOLATION"
    FOREIGN_KEY_VIOLATION = "FOREIGN_KEY_VIOLATION"
    NOT_NULL_VIOLATION = "NOT_NULL_VIOLATION"
    CHECK_VIOLATION = "CHECK_VIOLATION"
    CONSTRAINT_VIOLATION = "CONSTRAINT_VIOLATION"
    RAISED_BY_DATABASE = "RAISED_BY_DATABASE"
    CLAIMS_TAMPERED = "CLAIMS_TAMPERED"

    SERIALIZATION_FAILURE = "SERIALIZATION_FAILURE"
    DEADLOCK = "DEADLOCK"
    LOCK_NOT_AVAILABLE = "LOCK_NOT_AVAILABLE"
    STATEMENT_TIMEOUT = "STATEMENT_TIMEOUT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    POOL_EXHAUSTED = "POOL_EXHAUSTED"
    DATABASE_RESOURCES = "DATABASE_RESOURCES"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    DATABASE_NOT_INSTALLED = "DATABASE_NOT_INSTALLED"
    DATABASE_ERROR = "DATABASE_ERROR"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"
    TOO_MANY_CALLS = "TOO_MANY_CALLS"

    CALLER_UNAUTHENTICATED = "CALLER_UNAUTHENTICATED"
    POLICY_REFUSED = "POLICY_REFUSED"
    RATE_LIMITED = "RATE_LIMITED"
    NAMED_STATEMENT_UNKNOWN = "NAMED_STATEMENT_UNKNOWN"


class Blame(enum.StrEnum):
    """Whose fault an error is; the label under which errors are counted."""

    CALLER = "caller"
    DATABASE = "database"
    SERVICE = "service"


_SERVICE_REASONS = frozenset(
    {
        Reason.SIGNING_UNAVAILABLE,
        Reason.KEY_STORE_UNAVAILABLE,
        Reason.SHUTTING_DOWN,
        Reason.INTERNAL,
        Reason.TOO_MANY_CALLS,
    }
)
_DATABASE_REASONS = frozenset(
    {
        Reason.SERIALIZATION_FAILURE,
        Reason.DEADLOCK,
        Reason.LOCK_NOT_AVAILABLE,
        Reason.STATEMENT_TIMEOUT,
        Reason.POOL_EXHAUSTED,
        Reason.DATABASE_RESOURCES,
        Reason.DATABASE_UNAVAILABLE,
        Reason.DATABASE_NOT_INSTALLED,
        Reason.DATABASE_ERROR,
    }
)
_RETRYABLE_REASONS = frozenset(
    {
        Reason.SIGNING_UNAVAILABLE,
        Reason.KEY_STORE_CONFLICT,
        Reason.KEY_STORE_UNAVAILABLE,
        Reason.SERIALIZATION_FAILURE,
        Reason.DEADLOCK,
        Reason.LOCK_NOT_AVAILABLE,
        Reason.POOL_EXHAUSTED,
        Reason.DATABASE_UNAVAILABLE,
        Reason.SHUTTING_DOWN,
        Reason.TOO_MANY_CALLS,
        Reason.RATE_LIMITED,
    }
)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong: its path in the message, and the remedy."""

    field: str
    description: str


@dataclass(eq=False)
class UsherError(Exception):
    """An expected failure, fit to be shown to the caller.

    `message` names the field or thing and the remedy. It and `metadata` never hold a claim, token, key,
    parameter or SQL value. `metadata` repeats what is dynamic in the message (AIP-193).
    """

    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[FieldViolation] = ()
    retry_after: float | None = None
    """Seconds until a retry makes sense, where it is known."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    @property
    def blame(self) -> Blame:
        """Whose fault it is."""
        if self.reason in _SERVICE_REASONS:
            return Blame.SERVICE
        if self.reason in _DATABASE_REASONS:
            return Blame.DATABASE
        return Blame.CALLER

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later, and did nothing so far."""
        return self.reason in _RETRYABLE_REASONS


def invalid_field(name: str, remedy: str, reason: Reason = Reason.INVALID_FIELD) -> UsherError:
    """The error for one wrong field; `name` is its path in the request message."""
    return UsherError(reason, f"{name}: {remedy}", {"field": name}, (FieldViolation(name, remedy),))


_OF_ALL_STATEMENTS: Final = "options.statement_timeout"
"""The field that a transaction has once for all of its statements."""


def of_statement(error: UsherError, index: int) -> UsherError:
    """The error, said of one statement of a transaction: message, fields and metadata name it.

    What a query calls `sql` or `options.max_rows` is `statements[2].sql` or `statements[2].max_rows` there.
    """

    def renamed(text: str) -> str:
        if text.startswith(_OF_ALL_STATEMENTS):
            return text
        return f"{place}.{text.removeprefix('options.')}"

    place = f"statements[{index}]"
    metadata = {**error.metadata, "statement_index": str(index)}
    message = f"{place}: {error.message}"
    if "field" in metadata:
        metadata["field"] = renamed(metadata["field"])
        if error.message.startswith(error.metadata["field"]):
            message = renamed(error.message)
    violations = [
        FieldViolation(renamed(violation.field), violation.description) for violation in error.violations
    ]
    return UsherError(error.reason, message, metadata, violations, error.retry_after)


class SettingsError(Exception):
    """Settings that break a guarantee or cannot be read. Raised at start, never while serving."""
