-- A stand-in for the extension pg_session_jwt 0.5.0, for tests where it cannot be had: the same functions,
-- settings, results and errors. Made by a superuser, after ed25519.sql; known as the extension in the catalog.
--
-- What a backend remembers (the last token that was accepted, and its id) is not undone by a rollback and not
-- reached by SQL: it is in a file of the server's, one for each backend.
--
-- Where it differs: the key cannot be set in postgresql.conf; changing it after the start is no error but has no
-- effect; an empty token counts as none, for a setting that no library has defined cannot be null; nothing is
-- parallel safe; there is no audit log.
CREATE SCHEMA auth;

-- The setting as the session was started with it: NULL takes back what SQL made of it since.
CREATE FUNCTION stand_in.jwk() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  PERFORM set_config('pg_session_jwt.jwk', NULL, false);
  RETURN nullif(current_setting('pg_session_jwt.jwk', true), '');
END
$body$;

CREATE FUNCTION stand_in.key() RETURNS bytea
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  given text := stand_in.jwk();
  parsed jsonb;
  x bytea;
BEGIN
  IF given IS NULL THEN
    RAISE EXCEPTION 'Missing runtime parameter: pg_session_jwt.jwk' USING ERRCODE = '02000';
  END IF;
  BEGIN
    parsed := given::jsonb;
  EXCEPTION WHEN data_exception THEN
    parsed := NULL;
  END;
  x := stand_in.octets_of_base64url(parsed ->> 'x');
  IF parsed ->> 'kty' IS DISTINCT FROM 'OKP' OR parsed ->> 'crv' IS DISTINCT FROM 'Ed25519'
    OR length(x) IS DISTINCT FROM 32 OR stand_in.point_of(x) IS NULL
  THEN
    -- The real one says so of every key that is not Ed25519.
    RAISE EXCEPTION 'pg_session_jwt.jwk requires an ES256 JWK' USING ERRCODE = 'datatype_mismatch';
  END IF;
  RETURN x;
END
$body$;

-- NULL for what is not base64url without padding.
CREATE FUNCTION stand_in.octets_of_base64url(given text) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
  SELECT CASE WHEN given ~ '^[A-Za-z0-9_-]*$' AND length(given) % 4 <> 1
    THEN decode(translate(given, '-_', '+/') || repeat('=', (4 - length(given) % 4) % 4), 'base64') END
$body$;

CREATE FUNCTION stand_in.memory() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
  SELECT current_setting('data_directory') || '/session_jwt_stand_in.' || a.pid || '.'
      || extract(epoch FROM a.backend_start)
  FROM pg_stat_get_activity(pg_backend_pid()) AS a
$body$;

-- An integer claim; NULL when it is absent. `complaint` is raised for anything else.
CREATE FUNCTION stand_in.integer_claim(payload jsonb, name text, complaint text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF NOT payload ? name THEN
    RETURN NULL;
  END IF;
  IF jsonb_typeof(payload -> name) <> 'number' OR payload ->> name !~ '^-?[0-9]{1,19}$'
    OR (payload ->> name)::numeric NOT BETWEEN -9223372036854775808 AND 9223372036854775807
  THEN
    RAISE EXCEPTION '%', complaint USING ERRCODE = 'datatype_mismatch';
  END IF;
  RETURN (payload ->> name)::numeric;
END
$body$;

-- The payload of the token in force, checked when it is met for the first time; NULL when there is none.
CREATE FUNCTION stand_in.validated() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  token CONSTANT text := nullif(current_setting('pg_session_jwt.jwt', true), '');
  memory CONSTANT text := stand_in.memory();
  key bytea;
  remembered text[];
  parts text[];
  signature bytea;
  octets bytea;
  payload jsonb;
  id numeric;
  leeway CONSTANT numeric := 60;
  now_is CONSTANT numeric := extract(epoch FROM now());
BEGIN
  IF token IS NULL THEN
    RETURN NULL;
  END IF;
  key := stand_in.key();
  remembered := string_to_array(rtrim(pg_read_file(memory, 0, 1000000, true), E'\n'), E'\t');
  parts := regexp_match(token, '^([^.]*)\.(.*)\.([^.]*)$');
  IF remembered[2] IS NOT DISTINCT FROM token THEN
    RETURN convert_from(stand_in.octets_of_base64url(parts[2]), 'UTF8')::jsonb;
  END IF;
  IF parts IS NULL THEN
    RAISE EXCEPTION 'invalid JWT encoding' USING ERRCODE = 'datatype_mismatch';
  END IF;
  signature := stand_in.octets_of_base64url(parts[3]);
  IF length(signature) IS DISTINCT FROM 64 THEN
    RAISE EXCEPTION 'invalid JWT signature encoding' USING ERRCODE = 'datatype_mismatch';
  END IF;
  IF NOT stand_in.verifies(key, convert_to(parts[1] || '.' || parts[2], 'UTF8'), signature) THEN
    RAISE EXCEPTION 'invalid JWT signature' USING ERRCODE = 'check_violation';
  END IF;
  octets := stand_in.octets_of_base64url(parts[2]);
  IF octets IS NULL THEN
    RAISE EXCEPTION 'could not decode JWT component' USING ERRCODE = 'datatype_mismatch';
  END IF;
  BEGIN
    payload := convert_from(octets, 'UTF8')::jsonb;
  EXCEPTION WHEN data_exception OR character_not_in_repertoire OR untranslatable_character THEN
    payload := NULL;
  END;
  IF jsonb_typeof(payload) IS DISTINCT FROM 'object' THEN
    RAISE EXCEPTION 'could not parse JWT component' USING ERRCODE = 'datatype_mismatch';
  END IF;
  id := stand_in.integer_claim(payload, 'jti', 'JWT payload must contain a valid ''jti'' (JWT ID)');
  IF id IS NULL THEN
    RAISE EXCEPTION 'JWT payload must contain a valid ''jti'' (JWT ID)' USING ERRCODE = 'datatype_mismatch';
  END IF;
  IF id <= coalesce(remembered[1]::numeric, 0) THEN
    RAISE EXCEPTION 'Token ID must be strictly monotonically increasing.' USING ERRCODE = 'check_violation';
  END IF;
  IF now_is + leeway < stand_in.integer_claim(payload, 'nbf',
    '''nbf'' (Not Before) must be an integer representing seconds since unix epoch')
  THEN
    RAISE EXCEPTION 'Token used before it is ready' USING ERRCODE = 'check_violation';
  END IF;
  IF now_is > leeway + stand_in.integer_claim(payload, 'exp',
    '''exp'' (Expiration) must be an integer representing seconds since unix epoch')
  THEN
    RAISE EXCEPTION 'Token used after it has expired' USING ERRCODE = 'check_violation';
  END IF;
  -- A token has no character that COPY would escape.
  EXECUTE format('COPY (SELECT %s, %L) TO %L', id, token, memory);
  RETURN payload;
END
$body$;

-- What the functions below tell: of the token where there is a key, else of `request.jwt.claims`, which anybody
-- may set. SQL NULL when there is nothing.
CREATE FUNCTION stand_in.claims() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  IF stand_in.jwk() IS NOT NULL THEN
    RETURN stand_in.validated();
  END IF;
  BEGIN
    RETURN nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  EXCEPTION WHEN data_exception THEN
    RETURN NULL;
  END;
END
$body$;

CREATE FUNCTION auth.init() RETURNS void LANGUAGE plpgsql VOLATILE STRICT AS $body$
BEGIN
  PERFORM stand_in.key();
END
$body$;

CREATE FUNCTION auth.jwt_session_init(jwt text) RETURNS void LANGUAGE plpgsql VOLATILE STRICT AS $body$
BEGIN
  PERFORM pg_catalog.set_config('pg_session_jwt.jwt', jwt, false);
  PERFORM stand_in.validated();
END
$body$;

CREATE FUNCTION auth.session() RETURNS jsonb LANGUAGE plpgsql STABLE STRICT AS $body$
BEGIN
  RETURN coalesce(stand_in.claims(), 'null'::pg_catalog.jsonb);
END
$body$;

CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE plpgsql STABLE STRICT AS $body$
BEGIN
  RETURN auth.session();
END
$body$;

CREATE FUNCTION auth.user_id() RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  claims CONSTANT jsonb := stand_in.claims();
BEGIN
  IF jsonb_typeof(claims -> 'sub') = 'string' THEN
    RETURN claims ->> 'sub';
  END IF;
  IF claims ? 'sub' AND stand_in.jwk() IS NOT NULL THEN
    RAISE EXCEPTION 'invalid subject claim in the JWT' USING ERRCODE = 'datatype_mismatch';
  END IF;
  RETURN NULL;
END
$body$;

CREATE FUNCTION stand_in.as_uuid(given text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  RETURN given::uuid;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END
$body$;

CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE plpgsql STABLE STRICT AS $body$
BEGIN
  RETURN stand_in.as_uuid(auth.user_id());
END
$body$;

CREATE FUNCTION auth.organization() RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  found CONSTANT jsonb := stand_in.claims() -> 'o';
BEGIN
  RETURN CASE jsonb_typeof(found) WHEN 'object' THEN found END;
END
$body$;

CREATE FUNCTION auth.organization_id() RETURNS uuid
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
  RETURN stand_in.as_uuid(auth.organization() ->> 'id');
END
$body$;

-- As C functions they would need no rights of their own.
GRANT USAGE ON SCHEMA stand_in TO PUBLIC;
REVOKE ALL ON FUNCTION stand_in.memory() FROM PUBLIC;

INSERT INTO pg_catalog.pg_extension
  (oid, extname, extowner, extnamespace, extrelocatable, extversion, extconfig, extcondition)
SELECT pg_catalog.pg_nextoid('pg_catalog.pg_extension', 'oid', 'pg_catalog.pg_extension_oid_index'),
       'pg_session_jwt', current_user::regrole, 'public'::regnamespace, false, '0.5.0', NULL, NULL;

DO $$
DECLARE
  member text;
BEGIN
  ALTER EXTENSION pg_session_jwt ADD SCHEMA auth;
  ALTER EXTENSION pg_session_jwt ADD SCHEMA stand_in;
  FOR member IN
    SELECT oid::regprocedure::text FROM pg_catalog.pg_proc
    WHERE pronamespace IN ('auth'::regnamespace, 'stand_in'::regnamespace)
  LOOP
    EXECUTE 'ALTER EXTENSION pg_session_jwt ADD FUNCTION ' || member;
  END LOOP;
END
$$;
