"""A quick look at a request: whether it surely keeps the contract's rules.

protovalidate decides, and says what is wrong. But it takes longer than all the rest of reading a small
request, and nearly every request keeps the rules: those of the busiest methods are told apart here. Whatever
a look is not sure of goes to protovalidate. The tests hold each look against it, and against the rules as
they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Look = Callable[[Any], bool]
"""Whether a message surely keeps its rules."""

_RULED_KINDS: Final = frozenset({"array_value", "timestamp_value", "uuid_value"})
"""The kinds of values that have rules."""
_FEW: Final = 32
"""Parameters that are looked at; of more, protovalidate makes shorter work."""


def _issue_token(request: Any) -> bool:
    audiences = request.audiences
    return _is_subject(request.subject) and (
        not audiences or (len(audiences) == 1 and 0 < len(audiences[0]) <= 255)
    )


def _verify_token(request: Any) -> bool:
    return 0 < len(request.token) <= 16_384 and len(request.audience) <= 255


def _run_scoped_query(request: Any) -> bool:
    return (
        request.HasField("scope")
        and _scope(request.scope)
        and _parameters(request.parameters)
        and len(request.statement) <= 63
        and (not request.options.HasField("statement_timeout") or _timeout(request.options.statement_timeout))
    )


def _scope(scope: Any) -> bool:
    kind = scope.WhichOneof("scope")
    if kind == "principal":
        return _is_subject(scope.principal.subject)
    return kind == "token" and 0 < len(scope.token) <= 16_384


def _parameters(values: Any) -> bool:
    return len(values) <= _FEW and _RULED_KINDS.isdisjoint([value.WhichOneof("kind") for value in values])


def _timeout(length: Any) -> bool:
    """A millisecond at least, and within what a Duration may say (google/protobuf/duration.proto)."""
    seconds, nanos = int(length.seconds), int(length.nanos)
    in_range = 0 <= seconds <= 315_576_000_000 and 0 <= nanos <= 999_999_999
    return in_range and (seconds > 0 or nanos >= 1_000_000)


def _is_subject(text: str) -> bool:
    return 0 < len(text) <= 255


def not_sure(request: Any) -> bool:
    """The look at a message that has none of its own."""
    return False


LOOKS: Final[Mapping[str, Look]] = {
    "usher.v1.IssueTokenRequest": _issue_token,
    "usher.v1.VerifyTokenRequest": _verify_token,
    "usher.v1.RunScopedQueryRequest": _run_scoped_query,
}
"""The look at each type of message, by its full name."""
