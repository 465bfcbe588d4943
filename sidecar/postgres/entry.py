"""What makes a transaction the scope's: sent before its first statement, in part before each other one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from sidecar.core.errors import Reason, UsherError
from sidecar.postgres.driver import CLOSE_RESULT
from sidecar.postgres.exchange import Exchange
from sidecar.postgres.wire import Step, answer

SERIALIZABLE: Final = (
    "pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'serializable'"
)
"""Whether even a transaction that only reads may be refused at its end."""

BEGUN: Final = answer("BEGIN")
"""To what begins a transaction."""

_TAKEN_AWAY: Final = frozenset({"US001", "55000", "02000", "22023", "23514", "42804", "2F003"})
"""SQLSTATEs by which an identity that was believed before is refused: those of usher.claims(), of a number
that was moved, and of pg_session_jwt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What makes a transaction the scope's, to be sent before its statement."""

    role: str
    begin: tuple[Step, ...] = ()
    """What begins the transaction, unless it has begun."""
    identity: tuple[Step, ...]
    """Claims, role and timeout, and the question whether they are believed. The last value of the last step
    is SERIALIZABLE."""
    by_number: bool = False
    """Whether they rest on the session's number, which it may have lost."""
    explain: Callable[[int, BaseException], UsherError | None]
    """What it means that the step with this number failed; None when that is no different from elsewhere."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All that is sent before a statement."""
        return (*self.begin, *self.identity)

    def again(self) -> Entry:
        """What is sent before a further statement of the transaction, whatever those before it have set."""
        explain = functools.partial(_explained_again, self.explain)
        return replace(self, begin=(CLOSE_RESULT,), by_number=False, explain=explain)


def _explained_again(
    explain: Callable[[int, BaseException], UsherError | None], step: int, error: BaseException
) -> UsherError | None:
    if getattr(error, "sqlstate", None) in _TAKEN_AWAY:
        return UsherError(
            Reason.CLAIMS_TAMPERED,
            "an earlier statement of the transaction took away what its scope's claims are believed by",
        )
    return explain(step, error)


def is_serializable(entry: Entry, entered: Exchange) -> bool:
    """Whether even a transaction that only reads may be refused at its end."""
    return entered.rows[len(entry.steps) - 1][-1] == b"t"


def cannot_become(role: str) -> UsherError:
    """The caller had no part in this: the role is gone, or may not be taken any more."""
    return UsherError(
        Reason.DATABASE_NOT_INSTALLED,
        f"the login cannot become the role {role}; grant it, or run `usher db install`",
    )
