"""Codecs against a real server: every type arrives whole, and no look-up can be led astray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from sidecar.core.errors import Reason, UsherError
from sidecar.core.values import NULL, Kind, Parameter
from sidecar.postgres import codecs

# Type, kind, and a value in the text form that Postgres prints for it.
SAMPLES = [
    ("bool", Kind.BOOL, "true"),
    ("int2", Kind.INT, "-32768"),
    ("int4", Kind.INT, "2147483647"),
    ("int8", Kind.INT, "-9223372036854775808"),
    ("oid", Kind.INT, "4294967295"),
    ("xid", Kind.INT, "4294967295"),
    ("cid", Kind.INT, "7"),
    ("float4", Kind.FLOAT, "1.17549435e-38"),
    ("float8", Kind.FLOAT, "2.2250738585072014e-308"),
    ("numeric", Kind.NUMERIC, "-0.00000000000000000000000000000000010"),
    ("text", Kind.TEXT, "tab\tquote\"back\\slash line\nü😀"),
    ("varchar", Kind.TEXT, "{NULL}"),
    ("bpchar", Kind.TEXT, "padded   "),
    ("name", Kind.TEXT, "pg_class"),
    ('"char"', Kind.TEXT, "r"),
    ("xml", Kind.TEXT, "<a b=\"c\">d</a>"),
    ("refcursor", Kind.TEXT, "a cursor"),
    ("bytea", Kind.BYTES, "\\x00ff5c"),
    ("date", Kind.DATE, "0044-03-15 BC"),
    ("time", Kind.TIME, "23:59:59.999999"),
    ("timestamp", Kind.TIMESTAMP, "294276-12-31 23:59:59.999999"),
    ("timestamptz", Kind.TIMESTAMPTZ, "4714-11-24 00:00:00+00 BC"),
    ("interval", Kind.INTERVAL, "-1 years -2 mons +3 days -04:05:06.789"),
    ("uuid", Kind.UUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("json", Kind.JSON, '{ "b" : 1.0, "a":[null], "b": 12345678901234567890 }'),
    ("jsonb", Kind.JSON, '{"a": [null], "b": 12345678901234567890.10}'),
    ("jsonpath", Kind.OTHER, '$."a"[*]?(@ > 1)'),
    ("timetz", Kind.OTHER, "12:00:00.5-15:59:59"),
    ("money", Kind.OTHER, "$12.34"),
    ("inet", Kind.OTHER, "10.0.0.1/8"),
    ("cidr", Kind.OTHER, "2001:db8::/32"),
    ("macaddr", Kind.OTHER, "08:00:2b:01:02:03"),
    ("macaddr8", Kind.OTHER, "08:00:2b:01:02:03:04:05"),
    ("bit(5)", Kind.OTHER, "10110"),
    ("varbit", Kind.OTHER, "1011"),
    ("point", Kind.OTHER, "(0.1,-2)"),
    ("line", Kind.OTHER, "{1,-1,0.5}"),
    ("lseg", Kind.OTHER, "[(0,0),(1,1)]"),
    ("box", Kind.OTHER, "(3,4),(1,2)"),
    ("path", Kind.OTHER, "((0,0),(1,1),(2,0))"),
    ("polygon", Kind.OTHER, "((0,0),(1,1),(2,0))"),
    ("circle", Kind.OTHER, "<(1,2),0.3>"),
    ("int4range", Kind.OTHER, "[1,10)"),
    ("int8range", Kind.OTHER, "(,5)"),
    ("numrange", Kind.OTHER, "(1.10,2.20]"),
    ("daterange", Kind.OTHER, "[2024-01-01,infinity)"),
    ("tsrange", Kind.OTHER, '["2024-01-01 00:00:00","2024-01-02 00:00:00.000001")'),
    ("tstzrange", Kind.OTHER, '["2024-01-01 00:00:00+00",)'),
    ("int4multirange", Kind.OTHER, "{[1,3),[5,7)}"),
    ("nummultirange", Kind.OTHER, "{}"),
    ("tstzmultirange", Kind.OTHER, '{["2024-01-01 00:00:00+00",infinity)}'),
    ("tsvector", Kind.OTHER, "'a':1A 'quoted '' word':2"),
    ("tsquery", Kind.OTHER, "'a' & !'b' <2> 'c':*"),
    ("pg_lsn", Kind.OTHER, "FFFFFFFF/FFFFFFFF"),
    ("xid8", Kind.OTHER, "18446744073709551615"),
    ("pg_snapshot", Kind.OTHER, "10:20:10,14,15"),
    ("txid_snapshot", Kind.OTHER, "10:20:10,14,15"),
    ("tid", Kind.OTHER, "(4294967295,65535)"),
    ("regclass", Kind.OTHER, "pg_class"),
    ("regtype", Kind.OTHER, "timestamp with time zone"),
    ("regproc", Kind.OTHER, "now"),
    ("regrole", Kind.OTHER, "pg_monitor"),
    ("int2vector", Kind.OTHER, "1 2 3"),
    ("oidvector", Kind.OTHER, "1 2 4294967295"),
    ("aclitem", Kind.OTHER, "pg_monitor=r/pg_monitor"),
    ("app.mood", Kind.TEXT, "not, so \"happy\""),
    ("app.pair", Kind.OTHER, '(1,"a ""quoted"", text")'),
    ("app.span", Kind.OTHER, "[1.5,2.5)"),
    ("app.positive", Kind.INT, "7"),
    ("app.label", Kind.TEXT, "a label"),
]  # fmt: skip

USER_TYPES = """
DROP SCHEMA IF EXISTS app CASCADE;
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('not, so "happy"', 'NULL', '');
CREATE TYPE app.pair AS (number int4, word text);
CREATE TYPE app.span AS RANGE (subtype = float8);
CREATE DOMAIN app.positive AS int4 CHECK (VALUE > 0);
CREATE DOMAIN app.label AS varchar;
CREATE DOMAIN app.long_label AS app.label;
CREATE DOMAIN app.labels AS text[];
CREATE TYPE app."Odd ""Name" AS (x int4);
"""


@pytest.fixture(scope="module", autouse=True)
def user_types(database) -> Iterator[None]:
    database.execute(USER_TYPES)
    yield
    database.execute("DROP SCHEMA app CASCADE")


def samples() -> Any:
    return pytest.mark.parametrize(
        ("type_name", "kind", "text"), SAMPLES, ids=[type_name for type_name, _, _ in SAMPLES]
    )


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@samples()
def test_every_type_arrives_and_leaves_whole(database, type_name: str, kind: Kind, text: str) -> None:
    if type_name == "xml" and not has_xml(database):
        pytest.skip("this server was built without XML")
    prepared, ((made_by_server, sent_as_text),) = database.run(
        f"SELECT {literal(text)}::{type_name} UNION ALL SELECT $1::{type_name}", Parameter(Kind.TEXT, text)
    )
    assert prepared.columns[0].kind is kind
    assert made_by_server == sent_as_text
    # What arrived, sent back in its own kind, prints as the same text.
    own_kind = Kind.TEXT if kind is Kind.OTHER else kind
    printed = database.value(f"SELECT {literal(text)}::{type_name}::text")
    assert database.value(f"SELECT $1::{type_name}::text", Parameter(own_kind, made_by_server)) == printed


@samples()
def test_arrays_of_every_type_arrive_and_leave_whole(database, type_name: str, kind: Kind, text: str) -> None:
    if type_name == "xml" and not has_xml(database):
        pytest.skip("this server was built without XML")
    sent = Parameter(Kind.TEXT, text)
    prepared, ((array,),) = database.run(
        f"SELECT $1::{type_name}[]", Parameter(Kind.ARRAY, (sent, NULL, sent))
    )
    assert prepared.columns[0].kind is Kind.ARRAY
    assert prepared.columns[0].element_kind is kind
    single = database.value(f"SELECT $1::{type_name}", sent)
    assert array == [single, None, single]


def has_xml(database) -> bool:
    try:
        database.run("SELECT '<a/>'::xml")
    except asyncpg.FeatureNotSupportedError:
        return False
    return True


def test_a_record_without_a_name_arrives_as_text(database) -> None:
    prepared, ((value,), (array,)) = database.run("SELECT ROW(1, 'a b', NULL), ARRAY[ROW(1), ROW(2)]")
    assert value == '(1,"a b",)'
    assert array == ["(1)", "(2)"]
    assert [column.type_name for column in prepared.columns] == ["record", "record[]"]


def test_rows_of_tables_arrive_as_text(database) -> None:
    assert database.value("SELECT a FROM pg_catalog.pg_am AS a WHERE amname = 'btree'").endswith(",i)")
    assert database.value("SELECT t FROM pg_catalog.pg_type AS t WHERE oid = 16").startswith("(16,bool,")


def test_a_pseudo_type_with_a_text_form(database) -> None:
    database.execute("ANALYZE pg_catalog.pg_type")
    prepared, _ = database.run("SELECT most_common_vals FROM pg_catalog.pg_stats LIMIT 1")
    assert prepared.columns[0].type_name == "anyarray"
    assert prepared.columns[0].kind is Kind.OTHER


def test_domains_appear_as_their_base_type(database) -> None:
    prepared, data = database.run(
        "SELECT 1::app.positive, 'x'::app.long_label, '{a,NULL}'::app.labels, ARRAY[1::app.positive], "
        "ARRAY['{a,b}'::app.labels]"
    )
    assert [(c.type_name, c.kind, c.element_kind) for c in prepared.columns] == [
        ("int4", Kind.INT, None),
        ("varchar", Kind.TEXT, None),
        ("text[]", Kind.ARRAY, Kind.TEXT),
        ("int4[]", Kind.ARRAY, Kind.INT),
        ("text[][]", Kind.OTHER, None),
    ]
    assert [values[0] for values in data] == [1, "x", ["a", None], [1], '{"{a,b}"}']


def test_domains_as_parameters(database) -> None:
    assert database.value("SELECT $1::app.positive", Parameter(Kind.INT, 7)) == 7
    array = Parameter(Kind.ARRAY, (Parameter(Kind.INT, 7), NULL))
    assert database.value("SELECT $1::app.positive[]", array) == [7, None]
    labels = Parameter(Kind.ARRAY, (Parameter(Kind.TEXT, "a"),))
    assert database.value("SELECT $1::app.labels", labels) == ["a"]
    with pytest.raises(asyncpg.CheckViolationError):
        database.value("SELECT $1::app.positive", Parameter(Kind.INT, -7))


def test_enums_in_arrays_keep_awkward_labels(database) -> None:
    array = Parameter(Kind.ARRAY, (Parameter(Kind.TEXT, "NULL"), NULL, Parameter(Kind.TEXT, "")))
    assert database.value("SELECT $1::app.mood[]", array) == ["NULL", None, ""]


def test_type_names_can_be_written_in_sql(database) -> None:
    prepared, _ = database.run(
        """SELECT 'NULL'::app.mood, ROW(1)::app."Odd ""Name", 1.5, 'x'::"char", '{1}'::int4[]"""
    )
    names = [column.type_name for column in prepared.columns]
    assert names == ["app.mood", 'app."Odd ""Name"', "numeric", '"char"', "int4[]"]
    for name in names:
        database.run(f"SELECT NULL::{name}")


def test_a_changed_type_needs_no_new_connection(database) -> None:
    assert database.value("SELECT ROW(1, 'x')::app.pair") == "(1,x)"
    database.execute("ALTER TYPE app.pair ADD ATTRIBUTE more bool")
    assert database.value("SELECT ROW(1, 'x', true)::app.pair") == "(1,x,t)"
    database.execute("ALTER TYPE app.pair DROP ATTRIBUTE more")
    database.execute("ALTER TYPE app.mood ADD VALUE IF NOT EXISTS 'new'")
    assert database.value("SELECT $1::app.mood", Parameter(Kind.TEXT, "new")) == "new"


def test_forgotten_types_are_looked_up_again(database) -> None:
    database.value("SELECT ARRAY['NULL']::app.mood[]")
    database.connection._protocol.get_settings().clear_type_cache()
    assert database.value("SELECT ARRAY['NULL']::app.mood[]") == ["NULL"]
    assert database.value("SELECT ARRAY[date '1970-01-01']") == [0]


async def test_built_in_types_cost_no_look_up(postgres_dsn: str, monkeypatch) -> None:
    async def unexpected(*_: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", unexpected)
    connection = await asyncpg.connect(postgres_dsn, connection_class=codecs.TypedConnection)
    try:
        names = {name for name, _, _ in SAMPLES if "." not in name}
        for name in names:
            prepared = await codecs.prepare(connection, f"SELECT $1::{name}, $2::{name}[]")
            assert prepared.columns[1].kind is Kind.ARRAY
    finally:
        await connection.close()


def test_a_built_in_type_of_a_later_release_arrives_as_text(database, monkeypatch) -> None:
    # int2vector stands in for a type that neither asyncpg nor the table knows.
    settings = database.connection._protocol.get_settings()
    settings.remove_python_codec(22, "int2vector", "pg_catalog")
    monkeypatch.delitem(codecs.BUILTIN_TYPES, 22)
    monkeypatch.delitem(database.connection.types, 22)
    prepared, ((value,),) = database.run("SELECT '1 2'::int2vector")
    assert value == "1 2"
    assert prepared.columns[0].kind is Kind.OTHER


HOSTILE_SCHEMA = """
DROP SCHEMA IF EXISTS hostile CASCADE;
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.same(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR hostile.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = hostile.same);
CREATE FUNCTION hostile.same(name, name) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR hostile.= (LEFTARG = name, RIGHTARG = name, FUNCTION = hostile.same);
CREATE FUNCTION hostile.format(text, name, name) RETURNS text LANGUAGE sql AS $$SELECT 'hostile'$$;
CREATE VIEW hostile.pg_type AS SELECT oid, 'hostile'::name AS typname FROM pg_catalog.pg_type;
CREATE TYPE hostile.colour AS ENUM ('red');
"""


async def test_search_path_cannot_change_what_a_type_is(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn, connection_class=codecs.TypedConnection)
    try:
        await connection.execute(HOSTILE_SCHEMA)
        async with connection.transaction():
            await connection.execute("CREATE TEMP TABLE pg_type (oid oid, typname name) ON COMMIT DROP")
            await connection.execute("SET LOCAL search_path = hostile, pg_temp, pg_catalog")
            prepared = await codecs.prepare(connection, "SELECT ARRAY['red'::hostile.colour]")
            assert prepared.columns[0].type_name == "hostile.colour[]"
            assert await prepared.statement.fetchval() == ["red"]
    finally:
        await connection.execute("DROP SCHEMA hostile CASCADE")
        await connection.close()


async def test_a_role_without_rights_can_use_its_types(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn, connection_class=codecs.TypedConnection)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("CREATE TYPE pg_temp.shade AS ENUM ('dark'); CREATE ROLE codec_reader")
        await connection.execute("SET LOCAL ROLE codec_reader")
        prepared = await codecs.prepare(connection, "SELECT NULL::pg_temp.shade")
        assert prepared.columns[0].kind is Kind.TEXT
        await transaction.rollback()
    finally:
        await connection.close()


async def test_a_pool_lends_typed_connections(postgres_dsn: str) -> None:
    async with (
        asyncpg.create_pool(
            postgres_dsn, min_size=1, max_size=1, connection_class=codecs.TypedConnection
        ) as pool,
        pool.acquire() as connection,
    ):
        prepared = await codecs.prepare(connection, "SELECT 1.50")
        assert await prepared.statement.fetchval() == "1.50"


async def test_database_errors_pass_through(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn, connection_class=codecs.TypedConnection)
    try:
        with pytest.raises(asyncpg.UndefinedTableError):
            await codecs.prepare(connection, "SELECT * FROM there_is_no_such_table")
    finally:
        await connection.close()


class _ChangedProtocol:
    def get_settings(self) -> object:
        return object()


class _ChangedConnection:
    _protocol = _ChangedProtocol()


def test_a_changed_driver_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"install the version that pyproject\.toml pins"):
        codecs.register_codecs(_ChangedConnection())


def test_a_changed_hook_is_named(monkeypatch) -> None:
    monkeypatch.delattr(asyncpg.Connection, "_introspect_types")
    with pytest.raises(RuntimeError, match="private calls"):
        codecs._check_driver()


def test_an_unknown_type_is_refused_with_a_remedy() -> None:
    with pytest.raises(UsherError) as caught:
        codecs._known({}, 4711)
    assert caught.value.reason is Reason.DATA_EXCEPTION
    assert "cast" in caught.value.message


@pytest.mark.parametrize(
    ("said", "is_utf8"),
    [("UTF8", True), ("'utf-8'", True), ("LATIN1", False), ("SQL_ASCII", False), ("", False)],
)
def test_an_encoding_is_known_by_what_postgres_and_poolers_call_it(said: str, is_utf8: bool) -> None:
    assert codecs.names_utf8(said) is is_utf8
