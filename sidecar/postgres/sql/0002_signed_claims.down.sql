-- Back to step 1: auth.session() believes the plain setting again, so that any SQL may change its claims. The
-- roles stay: other databases of the cluster may use them.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_session_jwt') THEN
    RETURN;
  END IF;
  -- As in step 1.
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

  IF pg_catalog.current_setting('server_version_num')::int >= 160000 THEN
    ALTER FUNCTION auth.jwt() PARALLEL SAFE;
    ALTER FUNCTION auth.user_id() PARALLEL SAFE;
    ALTER FUNCTION auth.uid() PARALLEL SAFE;
  ELSE
    ALTER FUNCTION auth.jwt() PARALLEL UNSAFE;
    ALTER FUNCTION auth.user_id() PARALLEL UNSAFE;
    ALTER FUNCTION auth.uid() PARALLEL UNSAFE;
  END IF;
END
$$;

-- A policy that rests on usher.claims() itself keeps it, with an error.
DROP FUNCTION IF EXISTS usher.claims();
DROP FUNCTION IF EXISTS usher.new_claim_key();
DROP TABLE IF EXISTS usher.claim_key;
REVOKE USAGE ON SCHEMA usher FROM PUBLIC;
