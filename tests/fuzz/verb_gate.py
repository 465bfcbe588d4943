"""Fuzzes the verb gate against a second reader of SQL; with --postgres against the real one too."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any, Final

from tests.fuzz import engine

with engine.instrumented():
    from sidecar.core.errors import Reason, UsherError
    from sidecar.core.sql import ALLOWED_VERBS, check_statement

MAX_BYTES: Final = 2048
REASONS: Final = {
    Reason.SQL_EMPTY,
    Reason.SQL_TOO_LARGE,
    Reason.STATEMENT_NOT_ALLOWED,
    Reason.INVALID_FIELD,
}
TAGS: Final = {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"}
SEEDS: Final = (
    *(
        b"SELECT 1",
        b"VALUES (1)",
        b"TABLE pg_class",
        b"WITH a AS (SELECT 1) SELECT * FROM a",
        b"((SELECT 1))",
    ),
    *(b"/* a /* b */ */ SELECT 1", b"-- x\nSELECT 1", b"-- x\rSELECT 1", b"\v\f\t SELECT 1", b"select$1"),
    *(b"SET x.y = 1", b"RESET ALL", b"SHOW ALL", b"LISTEN a", b"DISCARD TEMP", b"DO $$ BEGIN END $$"),
    *(b"BEGIN", b"COMMIT", b"PREPARE a AS SELECT 1", b"EXPLAIN SELECT 1", b"CREATE TEMP TABLE t ()"),
    *(b"SELECT 1; SET x.y = 1", b";SET x.y = 1", b"/*/ SELECT */ SET x.y = 1", b"--\xe2\x80\xa8SET x.y = 1"),
    *(
        b"/*\0*/SELECT 1",
        b"/**/--/*\nSET x.y = 1",
        b"SELECT 1 AS set",
        b"\xef\xbb\xbfSELECT 1",
        b"S\xc4\xb1ET",
    ),
)
_SPACE: Final = re.compile(r"(?:[ \t\n\r\f\v(]|--[^\n\r]*)*")
_COMMENT: Final = re.compile(r"/\*|\*/")
_WORD: Final = re.compile(r"[A-Za-z]+(?![A-Za-z0-9_$\u0080-\U0010ffff])")


def one(data: bytes) -> None:
    """The gate lets pass only what the second reader finds to begin with an allowed word."""
    passed(data)


def passed(data: bytes) -> str | None:
    """The text when the gate lets it pass. Raises AssertionError when it should not have."""
    sql = data.decode("utf-8", "replace")
    try:
        verb = check_statement(sql, MAX_BYTES)
    except UsherError as error:
        if error.reason not in REASONS:
            raise AssertionError(error.reason) from error
        return None
    assert verb in ALLOWED_VERBS
    assert "\0" not in sql
    assert len(sql.encode()) <= MAX_BYTES
    assert first_word(sql) == verb, "the two readers differ"
    return sql


def first_word(sql: str) -> str:
    """The first word in capitals, found by taking away what may stand before it."""
    while True:
        sql = sql[_SPACE.match(sql).end() :]  # type: ignore[union-attr]
        if not sql.startswith("/*"):
            break
        depth = 0
        for mark in _COMMENT.finditer(sql):
            depth += 1 if mark[0] == "/*" else -1
            if depth == 0:
                sql = sql[mark.end() :]
                break
        else:
            return ""
    found = _WORD.match(sql)
    return found[0].upper() if found else "?"


class AgainstPostgres:
    """Runs what passed as a role without privileges: its command tag must be an allowed one."""

    def __init__(self, connection: Any, runner: asyncio.Runner) -> None:
        self._connection = connection
        self._runner = runner
        self.ran = 0

    def one(self, data: bytes) -> None:
        """As `one`, and then asks Postgres what the statement was."""
        sql = passed(data)
        if sql is not None:
            self._runner.run(self._ask(sql))

    async def _ask(self, sql: str) -> None:
        import asyncpg

        transaction = self._connection.transaction()
        await transaction.start()
        try:
            statement = await self._connection.prepare(sql)
            await statement.fetch(timeout=5)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError):
            return
        finally:
            await transaction.rollback()
        self.ran += 1
        tag = statement.get_statusmsg().split()[0]
        assert tag in TAGS, f"Postgres ran {tag}"


def against_postgres() -> int:
    """The command with --postgres."""
    import asyncpg

    from sidecar.embedded.binaries import DEFAULT_VERSION
    from tests.servers import Servers

    servers = Servers()
    try:
        server = servers[DEFAULT_VERSION]
        servers.execute(
            server.superuser_dsn(), f"CREATE ROLE fuzz LOGIN PASSWORD '{server.password('fuzz')}'"
        )
        with asyncio.Runner() as runner:
            limits = {"statement_timeout": "200ms", "client_min_messages": "error"}
            connection = runner.run(
                asyncpg.connect(
                    server.dsn("fuzz", "postgres"), server_settings=limits, statement_cache_size=0
                )
            )
            target = AgainstPostgres(connection, runner)
            code = engine.main(target.one, SEEDS)
            print(f"{target.ran} of them ran in Postgres")
            runner.run(connection.close())
            return code
    finally:
        servers.close()


if __name__ == "__main__":
    if "--postgres" in sys.argv:
        sys.argv.remove("--postgres")
        sys.argv.append("--plain")
        sys.exit(against_postgres())
    sys.exit(engine.main(one, SEEDS))
