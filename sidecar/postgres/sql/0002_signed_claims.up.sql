-- Claims that no statement can forge: auth.session() believes `request.jwt.claims` only with a tag that the
-- sidecar made for this very transaction, backend and role.
--
-- Tag: key id, '.', and the lower-case hex HMAC-SHA-256 (RFC 2104) over
--   'usher claims v1' || timestamptz_send(now()) || int4send(backend pid)
--   || int4send(length of the role) || role in UTF-8 || claims in UTF-8
-- in `usher.claim_tag`. No extension and no superuser is needed: CREATEROLE, and CREATE on the database.

-- usher_verifier owns the one function that reads the keys, and may do nothing else. usher_login marks the
-- sidecar's logins: in their sessions missing claims are an error. Both are cluster-wide, as in step 1.
DO $$
DECLARE
  role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['usher_verifier', 'usher_login'] LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
      EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOINHERIT', role_name);
    END IF;
  END LOOP;
END
$$;

CREATE SCHEMA IF NOT EXISTS usher;
GRANT USAGE ON SCHEMA usher TO PUBLIC;

-- The pads of RFC 2104 rather than the key: Postgres has sha256() but neither HMAC nor an exclusive or of
-- bytea. Several rows are valid at once, so that a key is replaced while sidecars still use the old one.
CREATE TABLE IF NOT EXISTS usher.claim_key (
  id         text PRIMARY KEY CHECK (id ~ '^[a-z0-9]{1,16}$'),
  inner_pad  bytea NOT NULL CHECK (octet_length(inner_pad) = 64),
  outer_pad  bytea NOT NULL CHECK (octet_length(outer_pad) = 64),
  created_at timestamptz NOT NULL DEFAULT now()
);

-- Default privileges of the owner may have given the table away as it was made.
DO $$
DECLARE
  grantee text;
BEGIN
  FOR grantee IN
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.format('%I', r.rolname) END
    FROM pg_catalog.pg_class AS c
    CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
    WHERE c.oid = 'usher.claim_key'::pg_catalog.regclass AND a.grantee <> c.relowner
  LOOP
    EXECUTE 'REVOKE ALL ON usher.claim_key FROM ' || grantee;
  END LOOP;
END
$$;
GRANT SELECT ON usher.claim_key TO usher_verifier;

-- Makes a key and returns it as the sidecar's setting claim_key, `id:hex`. Made here, so that it is never the
-- text or a parameter of a statement, which logs may show. A UUID has 122 random bits.
CREATE OR REPLACE FUNCTION usher.new_claim_key() RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
  secret bytea := sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
  );
  padded bytea := secret || decode(repeat('00', 32), 'hex');
  inner_xor bytea := padded;
  outer_xor bytea := padded;
  key_id text := substr(encode(uuid_send(gen_random_uuid()), 'hex'), 1, 8);
BEGIN
  FOR at IN 0..63 LOOP
    inner_xor := set_byte(inner_xor, at, get_byte(padded, at) # 54);
    outer_xor := set_byte(outer_xor, at, get_byte(padded, at) # 92);
  END LOOP;
  INSERT INTO usher.claim_key (id, inner_pad, outer_pad) VALUES (key_id, inner_xor, outer_xor);
  RETURN key_id || ':' || encode(secret, 'hex');
END
$body$;
REVOKE ALL ON FUNCTION usher.new_claim_key() FROM PUBLIC;

-- usher.claims() is made as usher_verifier. The membership and the right to create end with it.
GRANT usher_verifier TO CURRENT_USER;
GRANT CREATE ON SCHEMA usher TO usher_verifier;
SET LOCAL ROLE usher_verifier;

-- The claims of this transaction; JSON null in a session that is not the sidecar's and sets none. Raises
-- US001 for a tag that does not fit, and for missing claims in a session of the sidecar: otherwise a
-- statement that blanks its claims would pass a policy that denies by claim.
CREATE OR REPLACE FUNCTION usher.claims() RETURNS pg_catalog.jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict error
DECLARE
  given text := coalesce(current_setting('request.jwt.claims', true), '');
  given_tag text := coalesce(current_setting('usher.claim_tag', true), '');
  role_octets bytea := convert_to(current_setting('role'), 'UTF8');
  fitting text;
BEGIN
  -- Postgres leaves '' behind once a transaction-local value has ended.
  IF given = '' AND given_tag = '' THEN
    -- Whoever made the role usher_login is its member too since 16, with the admin option.
    IF EXISTS (
      SELECT FROM pg_auth_members AS m
      JOIN pg_roles AS l ON l.oid = m.member
      JOIN pg_roles AS g ON g.oid = m.roleid
      WHERE l.rolname = session_user AND g.rolname = 'usher_login' AND NOT m.admin_option
    ) THEN
      RAISE EXCEPTION 'no claims are set in this transaction' USING ERRCODE = 'US001';
    END IF;
    RETURN 'null'::jsonb;
  END IF;

  SELECT k.id || '.' || encode(sha256(k.outer_pad || sha256(
    k.inner_pad
    || convert_to('usher claims v1', 'UTF8')
    || timestamptz_send(now()) || int4send(pg_backend_pid())
    || int4send(octet_length(role_octets)) || role_octets
    || convert_to(given, 'UTF8')
  )), 'hex')
  INTO fitting
  FROM usher.claim_key AS k
  WHERE k.id = split_part(given_tag, '.', 1);

  -- Hashed once more, the time that the comparison takes says nothing of the bytes that fit.
  IF fitting IS NULL
    OR sha256(convert_to(fitting, 'UTF8')) <> sha256(convert_to(given_tag, 'UTF8'))
  THEN
    RAISE EXCEPTION 'the claims are not those of this transaction' USING ERRCODE = 'US001';
  END IF;
  RETURN given::jsonb;
END
$body$;
GRANT EXECUTE ON FUNCTION usher.claims() TO PUBLIC;

RESET ROLE;
REVOKE CREATE ON SCHEMA usher FROM usher_verifier;
REVOKE usher_verifier FROM CURRENT_USER;

-- auth.jwt(), auth.user_id() and auth.uid() of step 1 ask auth.session(). Where the extension pg_session_jwt
-- is installed, nothing here may stand in front of its functions.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_session_jwt') THEN
    RETURN;
  END IF;
  -- Without a SET clause, so that Postgres puts usher.claims() in its place.
  CREATE OR REPLACE FUNCTION auth.session() RETURNS pg_catalog.jsonb
  LANGUAGE sql STABLE PARALLEL RESTRICTED
  AS $body$ SELECT usher.claims() $body$;
  COMMENT ON FUNCTION auth.session() IS
    'Usher: all claims; JSON null when there are none; an error when they are not this transaction''s';
  -- They call auth.session(), and in a worker the backend is another one.
  ALTER FUNCTION auth.jwt() PARALLEL RESTRICTED;
  ALTER FUNCTION auth.user_id() PARALLEL RESTRICTED;
  ALTER FUNCTION auth.uid() PARALLEL RESTRICTED;
END
$$;
