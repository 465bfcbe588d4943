-- Roles that scoped statements run as. They belong to the whole cluster: another database may have made
-- them before, or be making them now.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['authenticated', 'anonymous'] LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
      END;
    END IF;
  END LOOP;
END
$$;

-- auth.session(), auth.jwt(), auth.user_id() and auth.uid(): what policies ask. The extension pg_session_jwt
-- brings its own; where it is installed nothing here may stand in front of it. What somebody else made under
-- these names is not replaced: policies may rest on it. Ours are known by their comments.
DO $$
DECLARE
  taken text;
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_session_jwt') THEN
    RETURN;
  END IF;

  SELECT f.oid::regprocedure::text INTO taken
  FROM pg_catalog.pg_proc AS f
  WHERE f.pronamespace = pg_catalog.to_regnamespace('auth')
    AND f.proname IN ('session', 'jwt', 'user_id', 'uid') AND f.pronargs = 0
    AND coalesce(pg_catalog.obj_description(f.oid, 'pg_proc'), '') NOT LIKE 'Usher: %'
  LIMIT 1;
  IF taken IS NOT NULL THEN
    RAISE EXCEPTION 'the function % is there already and is not Usher''s; drop or rename it first', taken
      USING ERRCODE = 'duplicate_function';
  END IF;

  IF pg_catalog.to_regnamespace('auth') IS NULL THEN
    CREATE SCHEMA auth;
    COMMENT ON SCHEMA auth IS 'Usher: what policies ask about the claims in force';
  END IF;
  GRANT USAGE ON SCHEMA auth TO PUBLIC;

  -- JSON null, not SQL NULL, when there are no claims or the setting is no JSON: `->>` then gives NULL, and a
  -- policy that compares it sees no row. Postgres leaves '' behind once a transaction-local value has ended.
  IF pg_catalog.current_setting('server_version_num')::int >= 160000 THEN
    CREATE OR REPLACE FUNCTION auth.session() RETURNS pg_catalog.jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $body$
      SELECT CASE
        WHEN pg_catalog.pg_input_is_valid(
          pg_catalog.current_setting('request.jwt.claims', true), 'pg_catalog.jsonb')
        THEN pg_catalog.current_setting('request.jwt.claims', true)::pg_catalog.jsonb
        ELSE 'null'::pg_catalog.jsonb
      END
    $body$;
  ELSE
    -- An exception handler is a subtransaction, which these versions refuse in a parallel plan, even in its
    -- leader: hence UNSAFE.
    CREATE OR REPLACE FUNCTION auth.session() RETURNS pg_catalog.jsonb
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    AS $body$
    BEGIN
      RETURN coalesce(
        nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb,
        'null'::pg_catalog.jsonb);
    EXCEPTION WHEN data_exception THEN
      RETURN 'null'::pg_catalog.jsonb;
    END
    $body$;
  END IF;
  COMMENT ON FUNCTION auth.session() IS 'Usher: all claims; JSON null when there are none';

  CREATE OR REPLACE FUNCTION auth.jwt() RETURNS pg_catalog.jsonb
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $body$ SELECT auth.session() $body$;
  COMMENT ON FUNCTION auth.jwt() IS 'Usher: the same as auth.session()';

  CREATE OR REPLACE FUNCTION auth.user_id() RETURNS pg_catalog.text
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $body$
    SELECT CASE
      WHEN pg_catalog.jsonb_typeof(claims OPERATOR(pg_catalog.->) 'sub') OPERATOR(pg_catalog.=) 'string'
      THEN claims OPERATOR(pg_catalog.->>) 'sub'
    END
    FROM auth.session() AS claims
  $body$;
  COMMENT ON FUNCTION auth.user_id() IS 'Usher: the sub claim; NULL when it is no string';

  -- The pattern admits what the cast takes in its usual forms.
  CREATE OR REPLACE FUNCTION auth.uid() RETURNS pg_catalog.uuid
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $body$
    SELECT CASE
      WHEN id OPERATOR(pg_catalog.~*) '^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$'
      THEN id::pg_catalog.uuid
    END
    FROM auth.user_id() AS id
  $body$;
  COMMENT ON FUNCTION auth.uid() IS 'Usher: the sub claim as a UUID; NULL when it is none';

  IF pg_catalog.current_setting('server_version_num')::int < 160000 THEN
    -- They call auth.session(), and are no safer than it.
    ALTER FUNCTION auth.jwt() PARALLEL UNSAFE;
    ALTER FUNCTION auth.user_id() PARALLEL UNSAFE;
    ALTER FUNCTION auth.uid() PARALLEL UNSAFE;
  END IF;
END
$$;
