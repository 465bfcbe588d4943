"""The first look at a statement: nothing but the eight verbs gets by."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import Reason, UsherError
from sidecar.core.sql import ALLOWED_VERBS, check_statement, leading_keyword

LIMIT = 1000


def reason(sql: str) -> Reason:
    with pytest.raises(UsherError) as caught:
        check_statement(sql, LIMIT)
    return caught.value.reason


@pytest.mark.parametrize(
    ("sql", "verb"),
    [
        ("select 1", "SELECT"),
        ("  \n\tSeLeCt 1", "SELECT"),
        ("((select 1))", "SELECT"),
        ("-- a comment\nselect 1", "SELECT"),
        ("-- a comment\rselect 1", "SELECT"),
        ("/* a /* nested */ one */ values (1)", "VALUES"),
        ("/**/(/**/with x as (select 1) table x)", "WITH"),
        ("insert into t values (1)", "INSERT"),
        ("update t set a = 1", "UPDATE"),
        ("delete from t", "DELETE"),
        ("merge into t using s on true when matched then delete", "MERGE"),
        ("table t", "TABLE"),
        ("select'a'", "SELECT"),
        ("select/**/1", "SELECT"),
        ("values(1)", "VALUES"),
    ],
)
def test_allowed_statements(sql: str, verb: str) -> None:
    assert check_statement(sql, LIMIT) == verb


@pytest.mark.parametrize(
    "sql", ["", "   ", ";", " ; ;", "-- only", "/* only */", "/* unclosed", "/* a */ -- b\n ;"]
)
def test_empty(sql: str) -> None:
    assert reason(sql) is Reason.SQL_EMPTY


@pytest.mark.parametrize(
    "sql",
    [
        "commit",
        "rollback",
        "begin",
        "start transaction",
        "savepoint a",
        "release a",
        "prepare transaction 'a'",
        "set role none",
        "set local role none",
        "reset role",
        "reset all",
        "discard all",
        "set session authorization x",
        "do $$ begin end $$",
        "copy t to stdout",
        "copy t from program 'id'",
        "listen a",
        "notify a",
        "unlisten *",
        "prepare a as select 1",
        "execute a",
        "deallocate all",
        "declare c cursor with hold for select 1",
        "fetch c",
        "create table t (a int)",
        "drop table t",
        "alter role x superuser",
        "grant a to b",
        "truncate t",
        "call p()",
        "explain select 1",
        "analyze",
        "vacuum",
        "lock table t",
        "show all",
        "load 'x'",
        "checkpoint",
        "import x",
        "--\ncommit",
        "/*/**/*/commit",
        "(commit",
        "selecté 1",
        "select_1",
        "select1",
        "\u00a0select 1",
        "éselect",
        "'select'",
        '"select" 1',
        "$1",
        "1",
        "\ufeffselect 1",
        "\\select",
        ")select 1",
        "; commit",
        ";select 1",
    ],
)
def test_everything_else_is_refused(sql: str) -> None:
    assert reason(sql) is Reason.STATEMENT_NOT_ALLOWED


def test_too_long_is_measured_in_bytes() -> None:
    assert reason("select '" + "é" * LIMIT + "'") is Reason.SQL_TOO_LARGE
    assert reason("select " + "1" * LIMIT) is Reason.SQL_TOO_LARGE


def test_nul_is_refused() -> None:
    assert reason("select '\0'") is Reason.INVALID_FIELD


@given(st.text(max_size=60))
def test_any_text_is_a_verb_or_a_refusal(sql: str) -> None:
    with contextlib.suppress(UsherError):
        assert check_statement(sql, LIMIT) in ALLOWED_VERBS


@given(st.text(alphabet=" \t\n(-/*", max_size=30), st.sampled_from(["commit", "set role x", "do $$ $$"]))
def test_no_prefix_of_blanks_and_comments_hides_a_utility_command(prefix: str, command: str) -> None:
    assert leading_keyword(prefix + command) not in ALLOWED_VERBS


def plain_leading_keyword(sql: str) -> str:
    """The same answer, one character after the other."""
    at = 0
    while at < len(sql):
        if sql[at] in " \t\n\r\f\v(":
            at += 1
        elif sql[at : at + 2] == "--":
            while at < len(sql) and sql[at] not in "\n\r":
                at += 1
        elif sql[at : at + 2] == "/*":
            depth, at = 1, at + 2
            while at < len(sql) and depth:
                pair = sql[at : at + 2]
                depth += {"/*": 1, "*/": -1}.get(pair, 0)
                at += 2 if pair in ("/*", "*/") else 1
        else:
            break
    if not sql[at:].strip(" \t\n\r\f\v;"):
        return ""
    word = ""
    while at < len(sql) and sql[at].isascii() and sql[at].isalpha():
        word, at = word + sql[at].upper(), at + 1
    goes_on = at < len(sql) and (sql[at] in "_$" or sql[at].isdigit() or not sql[at].isascii())
    return "?" if goes_on or not word else word


@given(
    st.text(alphabet=" \t\n\r(-/*;x", max_size=40) | st.text(alphabet="/*-\n", max_size=60),
    st.sampled_from(["", "commit", "select 1", "select_", "selecté", "1", "*/ select", "\u2003table t"]),
)
def test_the_keyword_is_what_a_plain_reading_finds(prefix: str, rest: str) -> None:
    assert leading_keyword(prefix + rest) == plain_leading_keyword(prefix + rest)
