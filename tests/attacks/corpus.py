"""The corpus: attacks as data, one file for each category in `corpus/`.

An attack has a `name`, what it `leaks` when it succeeds, and `steps`: statements of tenant A (the attacker)
or B (the victim). `<forge>` and `<read>` in a statement stand for WORDS. Without `success` an attack succeeds
when A is shown the canary, a value of B's; otherwise `success` holds one of these:

- `contains`, `fails`, `succeeds`, `slower_than` (seconds), `rows_over`, `memory_over` (bytes), `same_as` (a
  query of the administrator's): what the answer to the step with the number `step` is like;
- `admin`: a query of the administrator's that then gives true.

Marks: `unstoppable` says why no executor can stop it, `deployment` which mistake of the schema lets it
through, `by_token` why it succeeds where pg_session_jwt takes the place of signed claims, `regression` why
nothing falls for it, however careless.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "corpus"

CANARY: Final = "canaryglobex5d1f"
"""What only tenant B may read."""

CLAIMS: Final[Mapping[str, Mapping[str, str]]] = {
    "A": {"sub": "alice", "tenant_id": "acme"},
    "A_suspended": {"sub": "alice", "tenant_id": "acme", "suspended": "true"},
    "A_boss": {"sub": "alice", "tenant_id": "acme", "role": "reports"},
    "B": {"sub": "bob", "tenant_id": "globex"},
}

WORDS: Final = {
    "<forge>": """set_config('request.jwt.claims', '{"sub":"bob","tenant_id":"globex"}', true)""",
    "<read>": "SELECT (SELECT string_agg(n.body, ' ') FROM notes n WHERE w.x IS NOT NULL) FROM w",
    "<brackets>": "(" * 100_000 + "1" + ")" * 100_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request. `timeout` in seconds; one in the `background` runs on while the next steps do.

    The statements of `before` run first, in the same transaction.
    """

    who: str
    sql: str
    before: tuple[str, ...] = ()
    params: tuple[str | int, ...] = ()
    timeout: float | None = None
    read_only: bool = False
    background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One case."""

    name: str
    category: str
    leaks: str
    steps: tuple[Step, ...]
    success: Mapping[str, Any] = field(default_factory=dict)
    set_up: str = ""
    """SQL of the administrator's, before the steps."""
    unstoppable: str = ""
    deployment: str = ""
    by_token: str = ""
    regression: str = ""
    since: int = 0
    """The first version of PostgreSQL on which anything falls for it."""

    def succeeds_by_design(self, *, by_token: bool = False) -> bool:
        """Whether it is known that it cannot fail: against signed claims, or with pg_session_jwt."""
        return bool(self.unstoppable or self.deployment or (by_token and self.by_token))


def attacks() -> list[Attack]:
    """All cases, in the order of the files."""
    found: list[Attack] = []
    for path in sorted(FOLDER.glob("*.toml")):
        data = tomllib.loads(path.read_text("utf-8"))
        for place, sql in data.get("forge_in", {}).items():
            found.append(_forged(path.stem, place, sql))
        for case in data["attack"]:
            steps = tuple(_step(**step) for step in case.pop("steps"))
            found.append(Attack(category=path.stem, steps=steps, **case))
    return found


def _forged(category: str, place: str, sql: str) -> Attack:
    """Claims forged in one clause of a common table expression, and used outside of it."""
    return Attack(
        name=f"forge_in_{place}",
        category=category,
        leaks="tenant B's notes",
        steps=(_step(sql=f"WITH w AS MATERIALIZED ({sql}) <read>"),),
    )


def _step(*, sql: str, before: Sequence[str] = (), params: Sequence[str | int] = (), **others: Any) -> Step:
    return Step(
        who=others.pop("as", "A"),
        sql=_worded(sql),
        before=tuple(map(_worded, before)),
        params=tuple(params),
        **others,
    )


def _worded(sql: str) -> str:
    for word, text in WORDS.items():
        sql = sql.replace(word, text)
    return sql
