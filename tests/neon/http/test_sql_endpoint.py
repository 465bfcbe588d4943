"""The double of `POST /sql` does what is known of Neon's."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession

from tests.neon.local_proxy import LocalProxy
from tests.neon.sql_endpoint import LIMIT
from tests.neon.standing import HOST, Standing, token
from tests.neon.wire import ServerError
from tests.postgres.scoped import connected, until

ERROR_FIELDS = {
    "message", "code", "detail", "hint", "position", "internalPosition", "internalQuery", "severity", "where",
    "table", "column", "schema", "dataType", "constraint", "file", "line", "routine",
}  # fmt: skip


async def ask(
    there: Standing, document: Any, *, method: str = "POST", path: str = "", **headers: str | None
) -> tuple[int, Any, Mapping[str, str]]:
    """Status, document and headers of an answer; a header of None is left out."""
    given = {
        "Authorization": f"Bearer {token(there, 'alice', tenant_id='acme')}",
        "Neon-Connection-String": there.target.connection_string("authenticated"),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {name: value for name, value in given.items() if value is not None}
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    async with (
        ClientSession() as session,
        session.request(method, there.url + path, data=io.BytesIO(body), headers=sent) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if text else None, response.headers


async def rows(there: Standing, query: str, *params: Any, **headers: str) -> Any:
    status, document, _ = await ask(there, {"query": query, "params": list(params)}, **headers)
    assert status == 200, document
    return document["rows"]


async def test_one_query_and_all_that_is_told_of_it(there: Standing) -> None:
    status, document, headers = await ask(
        there, {"query": "select id, 1 as n from users where id = $1", "params": ["alice"]}
    )
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "application/json")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", headers["Neon-Request-Id"])
    fields = document.pop("fields")
    assert document == {
        "rowAsArray": False,
        "rows": [{"id": "alice", "n": 1}],
        "command": "SELECT",
        "rowCount": 1,
    }
    assert fields[0].pop("tableID") > 16384
    assert fields == [
        {
            "name": "id", "dataTypeID": 25, "columnID": 2, "dataTypeSize": -1, "dataTypeModifier": -1,
            "format": "text",
        },
        {
            "name": "n", "dataTypeID": 23, "tableID": 0, "columnID": 0, "dataTypeSize": 4,
            "dataTypeModifier": -1, "format": "text",
        },
    ]  # fmt: skip


async def test_only_true_is_true_in_a_header(there: Standing) -> None:
    one = "select 7::int4 as n"
    assert await rows(there, one, Neon_Array_Mode="true") == [[7]]
    assert await rows(there, one, Neon_Array_Mode="True") == [{"n": 7}]
    assert await rows(there, one, Neon_Raw_Text_Output="true") == [{"n": "7"}]
    assert await rows(there, one, Neon_Raw_Text_Output="1") == [{"n": 7}]
    _, document, _ = await ask(there, {"query": one, "arrayMode": False}, Neon_Array_Mode="true")
    assert (document["rows"], document["rowAsArray"]) == ([{"n": 7}], False)


@pytest.mark.parametrize(
    ("sent", "type_name", "text"),
    [
        (True, "text", "true"),
        (1.5, "text", "1.5"),
        ({"a": [1, None]}, "jsonb", '{"a": [1, null]}'),
        ('as it is \\ "', "text", 'as it is \\ "'),
        ([1, None, 2], "int[]", "{1,NULL,2}"),
        ([['a"b', "\\"], ["NULL", None]], "text[]", '{{"a\\"b","\\\\"},{"NULL",NULL}}'),
        ([{"a": 1}], "jsonb[]", '{"{\\"a\\": 1}"}'),
    ],
)
async def test_parameters_become_text(there: Standing, sent: Any, type_name: str, text: str) -> None:
    assert await rows(there, f"select $1::{type_name}::text as t", sent) == [{"t": text}]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("true", True),
        ("1::int2", 1),
        ("9007199254740993::int8", "9007199254740993"),
        ("1.50::numeric", "1.50"),
        ("0.5::float8", 0.5),
        ("'NaN'::float4", "NaN"),
        ("'-Infinity'::float8", "-Infinity"),
        ("'{\"a\": 1}'::json", {"a": 1}),
        ("null::int4", None),
        ("'{1,NULL,3}'::int4[]", [1, None, 3]),
        ("'{{1,2},{3,4}}'::int8[]", [["1", "2"], ["3", "4"]]),
        ('\'{"a,b","NULL",NULL,"\\""}\'::text[]', ["a,b", "NULL", None, '"']),
        ("'[0:1]={1,2}'::int4[]", [1, 2]),
        ("'{}'::int4[]", []),
        ("'2024-01-01'::date", "2024-01-01"),
    ],
)
async def test_values_become_json(there: Standing, expression: str, value: Any) -> None:
    assert await rows(there, f"select {expression} as v") == [{"v": value}]
    if value is not None:
        (raw,) = await rows(
            there, f"select {expression} as v, ({expression})::text as t", Neon_Raw_Text_Output="true"
        )
        assert raw["v"] in (raw["t"], raw["t"][0])  # a bool's text is longer


async def test_types_of_the_database_itself_are_not_told(there: Standing, neon_database: str) -> None:
    async with connected(neon_database) as admin:
        await admin.execute("CREATE TYPE mood AS ENUM ('happy')")
        try:
            _, document, _ = await ask(there, {"query": "select 'happy'::mood, '{happy}'::mood[], 1::oid"})
        finally:
            await admin.execute("DROP TYPE mood")
    assert [field["dataTypeID"] for field in document["fields"]] == [705, 705, 26]


async def test_a_batch_is_one_transaction(there: Standing, neon_database: str) -> None:
    insert = {"query": "insert into notes values ($1, null, 'x')", "params": [1]}
    status, document, headers = await ask(
        there,
        {"queries": [insert, {"query": "select pg_current_xact_id_if_assigned() is not null as same"}]},
        Neon_Batch_Isolation_Level="Serializable",
        Neon_Batch_Deferrable="true",
    )
    assert status == 200
    assert [result["rows"] for result in document["results"]] == [[], [{"same": True}]]
    assert headers["Neon-Batch-Isolation-Level"] == "Serializable"
    assert headers["Neon-Batch-Deferrable"] == "true"
    status, document, _ = await ask(there, {"queries": [{"query": "delete from notes"}, insert, insert]})
    assert (status, document["code"]) == (400, "23505")
    status, document, headers = await ask(
        there, {"queries": [{"query": "delete from notes"}]}, Neon_Batch_Read_Only="true"
    )
    assert (status, document["code"]) == (400, "25006")
    async with connected(neon_database) as admin:
        assert await admin.fetchval("DELETE FROM notes RETURNING id") == 1


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("ReadUncommitted", "read uncommitted"),
        ("ReadCommitted", "read committed"),
        ("RepeatableRead", "repeatable read"),
        ("Serializable", "serializable"),
    ],
)
async def test_isolation_levels(there: Standing, level: str, shown: str) -> None:
    show = {"query": "select current_setting('transaction_isolation') as level"}
    _, document, _ = await ask(there, {"queries": [show]}, Neon_Batch_Isolation_Level=level)
    assert document["results"][0]["rows"] == [{"level": shown}]
    status, document, _ = await ask(there, {"queries": [show]}, Neon_Batch_Isolation_Level=shown)
    assert (status, document["message"]) == (400, "invalid isolation level")


async def test_an_error_of_postgres_has_all_its_fields(there: Standing) -> None:
    status, document, headers = await ask(there, {"query": "select * from nowhere"})
    assert (status, set(document)) == (400, ERROR_FIELDS)
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert (document["code"], document["position"], document["severity"]) == ("42P01", "15", "ERROR")
    assert (document["routine"], document["detail"]) == ("parserOpenTable", None)
    status, document, _ = await ask(there, {"query": "select $1::int", "params": []})
    assert (status, document["code"], document["routine"]) == (400, "08P01", "exec_bind_message")
    _, document, _ = await ask(there, {"query": "select 1; select 2"})
    assert (document["code"], document["routine"]) == ("42601", "exec_parse_message")


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Authorization": None}, "authorization"),
        ({"Authorization": "bearer x"}, "authorization"),
        ({"Authorization": "Bearer a.b.c"}, "not a valid JWT encoding"),
        ({"Neon_Connection_String": None}, "neon-connection-string"),
        ({"Neon_Connection_String": "mysql://authenticated@ep.neon.test/db"}, "scheme"),
        ({"Neon_Connection_String": "postgres://ep.neon.test/db"}, "username"),
        ({"Neon_Connection_String": "postgres://authenticated@127.0.0.1/db"}, "hostname"),
        ({"Neon_Connection_String": f"postgres://postgres@{HOST}/db"}, "jwk not found"),
    ],
)
async def test_who_is_not_let_in(there: Standing, headers: dict[str, str | None], message: str) -> None:
    status, document, _ = await ask(there, {"query": "select 1"}, **headers)
    assert (status, document["code"], document["severity"]) == (400, "", "")
    assert message in document["message"]


async def test_an_ignored_password_and_the_other_scheme(there: Standing) -> None:
    string = there.target.connection_string("authenticated").replace(
        "postgresql://authenticated", "postgres://authenticated:x"
    )
    status, _, _ = await ask(there, {"query": "select 1"}, Neon_Connection_String=string)
    assert status == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"sql":"select 1"}', b'{"queries":[1]}', b'{"query":"x","params":{}}']
)
async def test_what_is_no_request(there: Standing, body: bytes) -> None:
    status, document, _ = await ask(there, body)
    assert status == 400
    assert "could not parse" in document["message"]


async def test_other_paths_and_methods(there: Standing) -> None:
    for method, path in (("GET", ""), ("POST", "/x"), ("PUT", "")):
        status, document, _ = await ask(there, {}, method=method, path=path)
        assert (status, document) == (400, "query is not supported")
    status, document, headers = await ask(there, b"", method="OPTIONS", Authorization=None)
    assert (status, document, headers["Allow"]) == (200, None, "OPTIONS, POST")
    assert "Neon-Connection-String" in headers["Access-Control-Allow-Headers"]
    assert headers["Access-Control-Max-Age"] == "86400"


async def test_limits(there: Standing, neon_database: str) -> None:
    status, document, _ = await ask(there, {"query": "select $1::text as t", "params": ["x" * LIMIT]})
    assert status == 413
    at_the_limit = await rows(there, f"select repeat('x', {LIMIT - 100}) as t")
    assert len(at_the_limit[0]["t"]) == LIMIT - 100
    write = {"query": "insert into notes values (1, null, 'x')"}
    large = {"query": f"select repeat('x', {LIMIT // 2}) from generate_series(1, 3)"}
    status, document, _ = await ask(there, {"queries": [write, large]})
    # What passes the broker as 5xx is JSON in a JSON text.
    assert (status, json.loads(document)["message"]) == (507, f"response is too large (max is {LIMIT} bytes)")
    async with connected(neon_database) as admin:
        assert await admin.fetchval("SELECT count(*) FROM notes") == 0


async def test_a_session_that_cannot_be_made_is_no_fault_of_the_caller(there: Standing) -> None:
    string = there.target.connection_string("authenticated").rpartition("/")[0] + "/nowhere"
    status, document, _ = await ask(there, {"query": "select 1"}, Neon_Connection_String=string)
    assert (status, json.loads(document)["code"]) == (500, "3D000")


async def test_a_value_that_is_not_utf8(there: Standing) -> None:
    sql = "select set_config('client_encoding', 'LATIN1', true), 'ü' as t"
    status, document, _ = await ask(there, {"query": sql})
    assert (status, json.loads(document)["message"]) == (500, "could not parse postgres response")


async def test_a_client_that_goes_away_ends_its_statement(there: Standing, neon_database: str) -> None:
    running = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    sleeping = asyncio.create_task(ask(there, {"queries": [{"query": "select pg_sleep(60)"}]}))
    async with connected(neon_database) as admin:
        await until(admin, f"SELECT count(*) = 1 {running}")
        sleeping.cancel()
        await asyncio.gather(sleeping, return_exceptions=True)
        await until(admin, f"SELECT count(*) = 0 {running}")


async def test_a_session_is_shared_and_scrubbed_but_for_plans(there: Standing) -> None:
    pid = await rows(there, "select pg_backend_pid() as pid")
    await rows(there, "select set_config('search_path', 'x', false) as p, '1' as t into temp users2")
    assert await rows(there, "select pg_backend_pid() as pid") == pid
    seen = "select current_setting('search_path') as path, to_regclass('pg_temp.users2') is null as gone"
    assert await rows(there, seen) == [{"path": '"$user", public', "gone": True}]


async def test_a_role_that_cannot_log_in_gets_no_session(there: Standing, neon_database: str) -> None:
    proxy = LocalProxy(there.login, there.identity)
    with pytest.raises(Exception, match="no_such_role") as refused:
        async with proxy.session(neon_database.rpartition("/")[2], "no_such_role", {}):
            pass
    assert isinstance(refused.value.error, ServerError)
    await proxy.close()


async def test_the_stand_in_believes_no_sql(there: Standing, neon_database: str) -> None:
    forged = "select set_config('request.jwt.claims', '{\"sub\":\"carol\"}', false), auth.user_id() as me"
    ((row),) = await rows(there, forged)
    assert row["me"] == "alice"
    async with connected(neon_database) as admin:
        await admin.execute("SET ROLE authenticated")
        assert await admin.fetchval("SELECT auth.session()::text") == "null"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await admin.execute("SELECT * FROM neon_double.identity")
