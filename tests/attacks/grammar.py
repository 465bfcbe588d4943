"""Random statements from a grammar, each a try to read what is tenant B's. The same seed gives the same."""

from __future__ import annotations

import random
from typing import Final

CLAIMS: Final = (
    '{"sub":"bob","tenant_id":"globex"}',
    '{"tenant_id":"globex"}',
    '{"tenant_id":"acme","tenant_id":"globex"}',
    '{"tenant_id":["globex"]}',
    r'{"tenant_id":"\u0067lobex"}',
    "null",
    "[]",
    "{",
    "",
)
SETTINGS: Final = (
    ("role", "none"),
    ("role", "anonymous"),
    ("role", "authenticated"),
    ("role", "reports"),
    ("role", "usher_login"),
    ("session_authorization", "postgres"),
    *(("session_authorization", f"usher_{number}") for number in (1, 2, 3, 4)),
    ("search_path", "pg_temp"),
    ("search_path", ""),
    ("row_security", "off"),
    ("usher.claim_tag", ""),
    ("usher.claim_tag", "a.b"),
    ("bytea_output", "escape"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("statement_timeout", "0"),
    ("transaction_read_only", "on"),
    ("enable_seqscan", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "on"),
    ("debug_parallel_query", "on"),
    ("plpgsql.variable_conflict", "use_column"),
    ("TimeZone", "Pacific/Kiritimati"),
    ("lc_monetary", "C"),
    ("client_encoding", "LATIN1"),
)
NAMES: Final = ("set_config", "pg_catalog.set_config", 'U&"\\0073et_config"', '"set_config"', "SET_CONFIG")
TABLES: Final = ("notes", "notes_of_tenant", "bulletins", "salaries", "mistakes.folded")
BEFORE: Final = (
    "/* x */ ",
    "/* a /* b */ */",
    "-- y\n",
    "(",
    "\t",
    "\v",
    ";",
    "EXPLAIN ",
    "DO $$ ",
    "\ufeff",
)
AFTER: Final = ("; COMMIT", "; RESET ROLE", ";;", " -- ", "; SELECT 1", ")", " FOR UPDATE", " LIMIT 1")
INSIDE: Final = ("'", "\0", "\\", "$$", "/*", "--", '"', "\u2028", "\x7f", ";")


class Grammar:
    """A source of statements."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def statement(self) -> str:
        """The next one."""
        choose, chance = self._random.choice, self._random.random
        sql = (
            f"WITH w{choose(('', '(x)'))} AS {choose(('MATERIALIZED', 'NOT MATERIALIZED', ''))} "
            f"({self._place()}) {self._read()}"
        )
        if chance() < 0.2:
            sql = choose(BEFORE) + sql
        if chance() < 0.1:
            sql += choose(AFTER)
        if chance() < 0.05:
            at = self._random.randrange(len(sql))
            sql = sql[:at] + choose(INSIDE) + sql[at:]
        return sql

    def _call(self) -> str:
        """A change of settings, most often of the claims."""
        choose, chance = self._random.choice, self._random.random
        if chance() < 0.7:
            setting, value = choose(("request.jwt.claims", "REQUEST.JWT.CLAIMS")), choose(CLAIMS)
        else:
            setting, value = choose(SETTINGS)
        call = f"{choose(NAMES)}('{setting}', '{value}', {choose(('true', 'false', 'NULL', '1 = 1'))})"
        return call if chance() < 0.7 else f"{call} || {self._call()}"

    def _place(self) -> str:
        """The change in one of the places where an expression may stand."""
        call = self._call()
        return self._random.choice(
            (
                f"SELECT {call} AS x",
                f"SELECT x FROM (SELECT {call}) AS s(x)",
                f"SELECT 1 AS x WHERE ({call}) IS NOT NULL",
                f"SELECT count(*) AS x FROM generate_series(1, 2) HAVING ({call}) <> 'q'",
                f"SELECT g AS x FROM generate_series(1, 2) g ORDER BY {call} LIMIT 1",
                f"VALUES ({call})",
                f"SELECT CASE WHEN ({call}) > '' THEN 1 ELSE 2 END AS x",
                f"SELECT max({call}) OVER () AS x",
                f"SELECT 1 AS x LIMIT length({call})",
                f"INSERT INTO audit (what) VALUES ({call}) RETURNING what AS x",
                f"SELECT (SELECT {call}) AS x",
                f"SELECT coalesce({call}, 'y') AS x UNION ALL SELECT {call}",
                f"DELETE FROM audit WHERE ({call}) = 'q' RETURNING 1 AS x",
                f"SELECT x FROM ROWS FROM (unnest(ARRAY[{call}])) AS u(x)",
                f"UPDATE notes SET owner = owner WHERE ({call}) IS NOT NULL RETURNING 1 AS x",
            )
        )

    def _read(self) -> str:
        """A way to read a table after that."""
        table = self._random.choice(TABLES)
        return self._random.choice(
            (
                f"SELECT (SELECT string_agg(t.body, ' ') FROM {table} t WHERE w IS NOT NULL) FROM w",
                f"SELECT t.body FROM w CROSS JOIN LATERAL (SELECT body FROM {table} WHERE w IS NOT NULL) t",
                f"SELECT s.word FROM w, ts_stat('SELECT to_tsvector(''simple'', body) FROM {table}') s"
                " WHERE w IS NOT NULL",
                f"SELECT body FROM {table}, w",
                "SELECT note_count()::text, whoami() FROM w WHERE w IS NOT NULL",
                "SELECT mistakes.read_folded() FROM w WHERE w IS NOT NULL",
                "SELECT own_note() FROM w WHERE w IS NOT NULL",
                f"UPDATE {table} SET body = body || ' ' FROM w RETURNING {table.rpartition('.')[2]}.body",
                f"DELETE FROM {table} USING w RETURNING {table.rpartition('.')[2]}.body",
                "SELECT try_session() FROM w WHERE w IS NOT NULL",
                f"SELECT body FROM {table} WHERE EXISTS (SELECT FROM w) FOR SHARE",
            )
        )
