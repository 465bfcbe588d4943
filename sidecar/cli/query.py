"""`usher query` and `usher whoami`: SQL as an end user."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from usher.v1 import query_service_pb2 as pb
from usher.v1 import query_service_pb2_grpc, values_pb2

from sidecar.cli import remote
from sidecar.cli.connecting import channel as connect
from sidecar.cli.render import json_text, names_of, rows_of, table
from sidecar.core.errors import SettingsError


def add_to(verbs: Any) -> None:
    """Adds the verbs."""
    query = verbs.add_parser("query", help="run one SQL statement as an end user")
    remote.add_address(query)
    remote.add_scope(query)
    query.add_argument(
        "sql", help='the statement, "@NAME" for a named one, or "-" to read it from standard input'
    )
    query.add_argument("parameters", nargs="*", help="values of $1, $2, ... in text form")
    query.add_argument("--read-only", action="store_true", help="refuse to write")
    query.add_argument("--max-rows", type=int, default=0, help="most rows to show (default: the server's)")
    query.add_argument("--json", action="store_true", help="print one JSON object a row")
    query.set_defaults(run=_query)

    whoami = verbs.add_parser("whoami", help="show what Postgres itself sees in a scope")
    remote.add_address(whoami)
    remote.add_scope(whoami)
    whoami.set_defaults(run=_whoami)


def _query(chosen: argparse.Namespace) -> int:
    if not 0 <= chosen.max_rows < 2**32:
        raise SettingsError("--max-rows: a number from 0 to 4294967295")
    # No SQL statement begins with this sign.
    is_named = chosen.sql.startswith("@")
    text = sys.stdin.read() if chosen.sql == "-" else chosen.sql
    request = pb.RunScopedQueryRequest(
        scope=remote.scope(chosen),
        sql="" if is_named else text,
        statement=text.removeprefix("@") if is_named else "",
        parameters=[values_pb2.Value(text_value=text) for text in chosen.parameters],
        options=pb.QueryOptions(read_only=chosen.read_only, max_rows=chosen.max_rows),
    )
    with connect(chosen) as channel:
        stub = query_service_pb2_grpc.QueryServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response = stub.RunScopedQuery(request, timeout=remote.DEADLINE_SECONDS)
    if chosen.json:
        names = names_of(response)
        for row in rows_of(response):
            print(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
    else:
        if response.columns:
            print(table(response))
        print(response.command_tag)
    if response.truncated:
        print("usher: more rows were there; ask for them with --max-rows, or page by key", file=sys.stderr)
    return 0


def _whoami(chosen: argparse.Namespace) -> int:
    with connect(chosen) as channel:
        stub = query_service_pb2_grpc.QueryServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        seen = stub.WhoAmI(pb.WhoAmIRequest(scope=remote.scope(chosen)), timeout=remote.DEADLINE_SECONDS)
    print(json_text(seen))
    return 0
