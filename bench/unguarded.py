"""Usher with some of its guards off, for the bench alone.

Usage: python -m bench.unguarded GUARD[,GUARD...] serve ... No setting can do this, and none shall: what one
costs shows when it is taken out of the code. Where the code is no longer as this file knows it, it ends with
an error, and the bench says that the figure is missing.

- caller: nobody proves who they are (the bench then sends no key, and the policy opens the same to anonymous)
- policy: nothing is decided
- claims: claims travel without a tag; the database of this name believes them
- audit: no event of a call reaches the log, which at the level debug has one for each
- metrics: no event is counted
- scrub: a connection goes back as the statement left it
- oneof: no guard; rows travel as one message a cell, which the layout by columns replaced
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from usher.v1 import values_pb2

from sidecar.app import backends, parts
from sidecar.cli import main as usher
from sidecar.core.policy import Authorizer
from sidecar.core.policy.deciding import UNLIMITED
from sidecar.core.values import ResultSet
from sidecar.postgres import pool
from sidecar.postgres.claim_key import ClaimKey
from sidecar.services import query_service
from sidecar.telemetry.metrics import Metrics

_LOG: Final = "log"
_ROWS: Final = "result_bytes"


def replace(owner: Any, name: str, by: Any) -> None:
    """Sets what must be there already."""
    if not hasattr(owner, name):
        raise SystemExit(f"bench/unguarded.py: {owner.__name__} has no {name} any more")
    setattr(owner, name, by)


def policy_off() -> None:
    replace(Authorizer, "admit", lambda self, caller, method: None)
    replace(Authorizer, "decide", lambda self, caller, *asks: UNLIMITED)


def claims_off() -> None:
    async def unchecked(connection: Any) -> None:
        """The check of the database would find that tags are not looked at."""

    replace(backends, "DatabaseCheck", lambda settings, key: unchecked)
    for kind in ("tag", "session_tag"):
        replace(ClaimKey, kind, lambda self, *parts: "")


def audit_off() -> None:
    replace(parts, _LOG, _only_lifecycle(getattr(parts, _LOG)))


def _only_lifecycle(log: Callable[[Any], None]) -> Callable[[Any], None]:
    """The bench itself reads where the sidecar listens."""

    def quiet(event: Any) -> None:
        if type(event).__name__ not in ("RpcFinished", "TokenIssued", "QueryFinished", "PolicyDecided"):
            log(event)

    return quiet


def metrics_off() -> None:
    replace(Metrics, "observe", lambda self, event: None)


def scrub_off() -> None:
    replace(pool, "scrub", lambda: "")


def oneof_rows() -> None:
    columns_only: Callable[[ResultSet, int], bytes] = getattr(query_service, _ROWS)

    def cells(result: ResultSet, limit: int) -> bytes:
        rows = values_pb2.ArrayValue()
        for number, name, key, (seconds, micros), amount, extra in zip(*result.data, strict=True):
            row = rows.elements.add().array_value.elements
            row.add(int_value=number)
            row.add(text_value=name)
            row.add(uuid_value=key)
            row.add(timestamp_value=values_pb2.Timestamp(seconds=seconds, micros=micros))
            row.add(numeric_value=amount)
            row.add(json_value=extra)
        encoded: bytes = rows.SerializeToString()
        return encoded if result.data else columns_only(result, limit)

    replace(query_service, _ROWS, cells)


GUARDS: Final[dict[str, Callable[[], None]]] = {
    "caller": lambda: None,  # by the policy file and by what is sent
    "policy": policy_off,
    "claims": claims_off,
    "audit": audit_off,
    "metrics": metrics_off,
    "scrub": scrub_off,
}
OTHERS: Final[dict[str, Callable[[], None]]] = {"oneof": oneof_rows}


def main(off: str, arguments: list[str]) -> int:
    """Serves without them."""
    for name in off.split(","):
        (GUARDS | OTHERS)[name]()
    return usher(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
