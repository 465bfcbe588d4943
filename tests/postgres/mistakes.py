"""One mistake, or more, for each finding of `usher db check`; {db} is the database."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN_SESSION = (
    "CREATE OR REPLACE FUNCTION auth.session() RETURNS jsonb LANGUAGE sql STABLE"
    " AS $$SELECT current_setting('request.jwt.claims', true)::jsonb$$"
)
DEFINER = "CREATE FUNCTION {name}() RETURNS int LANGUAGE sql SECURITY DEFINER {path} AS 'SELECT 1'"

ROLES = """
CREATE ROLE audit_login LOGIN NOINHERIT CONNECTION LIMIT 1;
GRANT authenticated, usher_login TO audit_login;
CREATE ROLE audit_other NOLOGIN;
"""
"""What the mistakes are made with; ROLES_GONE takes them away."""
ROLES_GONE = """
DROP OWNED BY audit_login, audit_other;
DROP ROLE audit_login, audit_other;
REVOKE pg_read_all_data FROM authenticated;
ALTER ROLE anonymous NOBYPASSRLS NOLOGIN;
"""


@dataclass(frozen=True, slots=True)
class Mistake:
    """How it is made, and on what it is found; `undo` where the finding's fix is a person's to decide."""

    name: str
    sql: str
    object: str
    undo: str = ""
    since: int = 14

    def __str__(self) -> str:
        return f"{self.name}-{self.object}"


MISTAKES = (
    Mistake("claims_forged", PLAIN_SESSION, "auth.session()", undo="reinstall"),
    Mistake("claims_forged", f"{PLAIN_SESSION} -- asked by", "auth.user_id()", undo="reinstall"),
    Mistake("function_changed", PLAIN_SESSION, "auth.session()", undo="reinstall"),
    Mistake(
        "function_changed",
        "ALTER FUNCTION usher.claims() SECURITY INVOKER",
        "usher.claims()",
        undo="reinstall",
    ),
    Mistake(
        "function_changed",
        "ALTER FUNCTION usher.claims() RESET search_path",
        "usher.claims()",
        undo="reinstall",
    ),
    Mistake(
        "function_changed",
        "CREATE FUNCTION usher.extra() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "usher.extra()",
        undo="DROP FUNCTION usher.extra()",
    ),
    Mistake(
        "function_changed", "ALTER FUNCTION auth.session() IMMUTABLE", "auth.session()", undo="reinstall"
    ),
    Mistake(
        "function_changed", "ALTER FUNCTION usher.claims() PARALLEL SAFE", "usher.claims()", undo="reinstall"
    ),
    Mistake(
        "function_backslash",
        r"CREATE FUNCTION digits(t text) RETURNS boolean LANGUAGE plpgsql"
        r" AS $$BEGIN RETURN t ~ '^\d+$'; END$$",
        "public.digits(text)",
    ),
    Mistake(
        "function_backslash",
        r"CREATE FUNCTION trigger_digits() RETURNS trigger LANGUAGE plpgsql AS"
        r" $$BEGIN NEW.x := E'\n' || '\'; RETURN NEW; END$$;"
        "REVOKE ALL ON FUNCTION trigger_digits() FROM PUBLIC",
        "public.trigger_digits()",
    ),
    Mistake(
        "function_names",
        "CREATE SCHEMA older; GRANT USAGE ON SCHEMA older TO authenticated;"
        "CREATE TABLE older.member_list (m text); CREATE TABLE member_list (m text);"
        "CREATE FUNCTION listed(t text) RETURNS boolean LANGUAGE sql STABLE AS"
        " 'SELECT EXISTS (SELECT FROM member_list WHERE m = t)';"
        "CREATE FUNCTION asks_listed(t text) RETURNS boolean LANGUAGE plpgsql STABLE AS"
        " 'BEGIN RETURN listed(t); END';"
        "CREATE TABLE of_members (m text); CREATE POLICY p ON of_members USING (asks_listed(m))",
        "public.listed(text)",
    ),
    Mistake(
        "table_rule",
        "CREATE TABLE ruled (x int); GRANT INSERT ON ruled TO authenticated;"
        "CREATE RULE more AS ON INSERT TO ruled DO ALSO DELETE FROM ruled WHERE x = 0",
        "more ON public.ruled",
        undo="DROP RULE more ON ruled",
    ),
    Mistake(
        "key_missing", "DELETE FROM usher.claim_key", "usher.claim_key", undo="SELECT usher.new_claim_key()"
    ),
    Mistake("key_granted", "GRANT SELECT ON usher.claim_key TO authenticated", "usher.claim_key"),
    Mistake("key_granted", "GRANT UPDATE (inner_pad) ON usher.claim_key TO PUBLIC", "usher.claim_key"),
    Mistake("key_granted", "GRANT INSERT ON usher.claim_key TO usher_verifier", "usher.claim_key"),
    Mistake(
        "key_function_granted",
        "GRANT EXECUTE ON FUNCTION usher.new_claim_key() TO audit_other",
        "usher.new_claim_key()",
    ),
    Mistake("revocations_granted", "GRANT SELECT ON usher.revocation TO authenticated", "usher.revocation"),
    Mistake("revocations_granted", "GRANT DELETE ON usher.revocation TO PUBLIC", "usher.revocation"),
    Mistake(
        "revocations_granted", "GRANT TRUNCATE ON usher.revocation TO usher_verifier", "usher.revocation"
    ),
    Mistake(
        "key_function_granted",
        "GRANT EXECUTE ON FUNCTION usher.tag_fits(bytea, text) TO PUBLIC",
        "usher.tag_fits(bytea,text)",
    ),
    Mistake(
        "function_changed",
        "ALTER FUNCTION usher.not_revoked() SECURITY INVOKER",
        "usher.not_revoked()",
        undo="reinstall",
    ),
    Mistake(
        "function_changed",
        "CREATE OR REPLACE FUNCTION usher.not_revoked() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS 'SELECT true'",
        "usher.not_revoked()",
        undo="reinstall",
    ),
    Mistake(
        "function_changed",
        "DROP FUNCTION usher.revocations(text, text)",
        "usher.revocations(text,text)",
        undo="reinstall",
    ),
    Mistake("verifier_usable", "GRANT usher_verifier TO audit_other", "usher_verifier"),
    Mistake("role_privileged", "ALTER ROLE audit_login SUPERUSER", "audit_login"),
    Mistake(
        "role_privileged", "ALTER ROLE audit_login BYPASSRLS CREATEROLE CREATEDB REPLICATION", "audit_login"
    ),
    Mistake("role_privileged", "ALTER ROLE anonymous BYPASSRLS", "anonymous"),
    Mistake("role_dangerous", "GRANT pg_read_all_data TO authenticated", "authenticated"),
    Mistake(
        "role_dangerous",
        "ALTER ROLE audit_other BYPASSRLS; GRANT audit_other TO audit_login",
        "audit_login",
        undo="ALTER ROLE audit_other NOBYPASSRLS",
    ),
    Mistake("role_extra", "GRANT audit_other TO audit_login", "audit_login"),
    Mistake("role_can_login", "ALTER ROLE anonymous LOGIN", "anonymous"),
    Mistake("login_shared", "ALTER ROLE audit_login CONNECTION LIMIT -1", "audit_login"),
    Mistake("statement_logging", "ALTER ROLE audit_login SET log_statement = 'all'", "audit_login"),
    Mistake(
        "statement_logging",
        "ALTER DATABASE {db} SET log_min_duration_statement = 0",
        "audit_login",
        undo="ALTER DATABASE {db} RESET log_min_duration_statement",
    ),
    Mistake(
        "statement_logging", "ALTER ROLE audit_login SET log_parameter_max_length_on_error = 8", "audit_login"
    ),
    Mistake("statistics_visible", "CREATE EXTENSION IF NOT EXISTS pg_stat_statements", "pg_stat_statements"),
    Mistake("database_create", "GRANT CREATE ON DATABASE {db} TO authenticated", "{db}"),
    Mistake("database_temp", "GRANT TEMPORARY ON DATABASE {db} TO PUBLIC", "{db}"),
    Mistake("schema_create", "CREATE SCHEMA open; GRANT CREATE ON SCHEMA open TO PUBLIC", "open"),
    Mistake("schema_create", "GRANT CREATE ON SCHEMA auth TO audit_other", "auth"),
    Mistake(
        "table_without_rls", "CREATE TABLE bare (x int); GRANT SELECT (x) ON bare TO PUBLIC", "public.bare"
    ),
    Mistake(
        "table_without_rls",
        "CREATE TABLE whole (x int) PARTITION BY LIST (x); ALTER TABLE whole ENABLE ROW LEVEL SECURITY;"
        "CREATE TABLE part PARTITION OF whole FOR VALUES IN (1); GRANT DELETE ON part TO anonymous",
        "public.part",
    ),
    Mistake(
        "table_without_policy",
        "CREATE TABLE closed (x int); ALTER TABLE closed ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON closed TO CURRENT_USER USING (true); GRANT SELECT ON closed TO authenticated",
        "public.closed",
        undo="DROP TABLE closed",
    ),
    Mistake(
        "table_privilege", "CREATE TABLE cut (x int); GRANT TRUNCATE ON cut TO authenticated", "public.cut"
    ),
    Mistake(
        "table_privilege",
        "CREATE TABLE kept (x int); GRANT MAINTAIN, REFERENCES ON kept TO authenticated",
        "public.kept",
        since=17,
    ),
    Mistake(
        "table_owned",
        "CREATE TABLE own (x int); ALTER TABLE own ENABLE ROW LEVEL SECURITY, OWNER TO authenticated",
        "public.own",
    ),
    Mistake(
        "relation_unprotected",
        "CREATE MATERIALIZED VIEW copied AS SELECT 1 AS x; GRANT SELECT ON copied TO authenticated",
        "public.copied",
    ),
    Mistake(
        "view_of_owner",
        "CREATE VIEW seen WITH (security_invoker = off) AS SELECT 1 AS x;"
        "GRANT SELECT ON seen TO authenticated",
        "public.seen",
    ),
    Mistake(
        "function_definer", DEFINER.format(name="mighty", path="SET search_path = ''"), "public.mighty()"
    ),
    Mistake("function_search_path", DEFINER.format(name="lost", path=""), "public.lost()"),
    Mistake(
        "function_search_path",
        DEFINER.format(name="led", path="SET search_path = pg_temp, public"),
        "public.led()",
    ),
    Mistake(
        "function_search_path",
        "CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " AS 'BEGIN RETURN NEW; END'",
        "public.fired()",
    ),
    Mistake(
        "function_immutable",
        "CREATE FUNCTION tenant() RETURNS text IMMUTABLE LANGUAGE plpgsql"
        " AS $$BEGIN RETURN \"auth\".session() ->> 'tenant_id'; END$$",
        "public.tenant()",
    ),
    Mistake(
        "function_immutable",
        "CREATE FUNCTION subject() RETURNS text IMMUTABLE RETURN auth.user_id()",
        "public.subject()",
    ),
    Mistake(
        "function_immutable",
        "CREATE FUNCTION inner_one() RETURNS text STABLE RETURN auth.user_id();"
        "CREATE FUNCTION outer_one() RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT public.inner_one()'",
        "public.outer_one()",
    ),
    Mistake(
        "function_leakproof",
        "CREATE FUNCTION leak(text) RETURNS text LEAKPROOF LANGUAGE sql AS 'SELECT $1'",
        "public.leak(text)",
    ),
    Mistake(
        "foreign_key_action",
        "CREATE TABLE parents (id int PRIMARY KEY);"
        "CREATE TABLE children (parent int REFERENCES parents ON DELETE CASCADE);"
        "ALTER TABLE children ENABLE ROW LEVEL SECURITY; GRANT DELETE ON parents TO authenticated",
        "public.children.children_parent_fkey",
        undo="DROP TABLE children",
    ),
    Mistake(
        "policy_per_row",
        "CREATE TABLE slow (owner text); ALTER TABLE slow ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY mine ON slow USING (owner = auth.user_id())"
        " WITH CHECK ((SELECT auth.user_id()) = owner)",
        "mine ON public.slow",
    ),
)
