-- One round trip less for each statement: a tag may also be bound to a number that Postgres gave the session
-- beforehand. docs/adr/0014-round-trips.md tells why that is as good.
--
-- Such a tag: key id, '.s.', and the lower-case hex HMAC-SHA-256 (RFC 2104) over
--   'usher claims v2' || int8send(the session's number) || int4send(backend pid)
--   || int4send(length of the role) || role in UTF-8 || claims in UTF-8
-- in `usher.claim_tag`. Tags of step 2, bound to the transaction, stay as good as they were: read replicas,
-- poolers and older sidecars need them.

-- Not for its values: what setval() gave stays with the session (currval), outside of transactions, and only
-- who has rights on the sequence can see or move it. UNLOGGED, so that moving it writes nothing: version 14 has
-- no such sequences, and sidecars do not ask for numbers there.
DO $$
BEGIN
  IF pg_catalog.current_setting('server_version_num')::int >= 150000 THEN
    EXECUTE 'CREATE UNLOGGED SEQUENCE IF NOT EXISTS usher.challenge';
  ELSE
    EXECUTE 'CREATE SEQUENCE IF NOT EXISTS usher.challenge';
  END IF;
END
$$;

-- Default privileges of the owner may have given the sequence away as it was made.
DO $$
DECLARE
  grantee text;
BEGIN
  FOR grantee IN
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.format('%I', r.rolname) END
    FROM pg_catalog.pg_class AS c
    CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
    WHERE c.oid = 'usher.challenge'::pg_catalog.regclass AND a.grantee <> c.relowner
  LOOP
    EXECUTE 'REVOKE ALL ON SEQUENCE usher.challenge FROM ' || grantee;
  END LOOP;
END
$$;
GRANT USAGE, UPDATE ON SEQUENCE usher.challenge TO usher_verifier;

-- As in step 2.
GRANT usher_verifier TO CURRENT_USER;
GRANT CREATE ON SCHEMA usher TO usher_verifier;
SET LOCAL ROLE usher_verifier;

-- Gives the session another number, whatever it had before. Anybody may: who calls it in a statement loses the
-- claims of that statement, and the number is worth nothing without a key. 60 random bits, so that none comes
-- again, not even after a crash or a restore: a UUID of version 4 has them around its version.
CREATE OR REPLACE FUNCTION usher.next_challenge() RETURNS pg_catalog.int8
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict error
DECLARE
  octets text := encode(uuid_send(gen_random_uuid()), 'hex');
BEGIN
  RETURN setval('usher.challenge', 1 + ('x' || substr(octets, 1, 12) || substr(octets, 14, 3))::bit(60)::int8);
END
$body$;
GRANT EXECUTE ON FUNCTION usher.next_challenge() TO PUBLIC;

-- As in step 2, with the second kind of tag. A session without a number raises 55000 for such a tag.
CREATE OR REPLACE FUNCTION usher.claims() RETURNS pg_catalog.jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict error
DECLARE
  given text := coalesce(current_setting('request.jwt.claims', true), '');
  given_tag text := coalesce(current_setting('usher.claim_tag', true), '');
  role_octets bytea := convert_to(current_setting('role'), 'UTF8');
  of_session bool := split_part(given_tag, '.', 2) = 's';
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

  SELECT k.id || CASE WHEN of_session THEN '.s.' ELSE '.' END || encode(sha256(k.outer_pad || sha256(
    k.inner_pad
    || CASE WHEN of_session
         THEN convert_to('usher claims v2', 'UTF8') || int8send(currval('usher.challenge'))
         ELSE convert_to('usher claims v1', 'UTF8') || timestamptz_send(now())
       END
    || int4send(pg_backend_pid())
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

RESET ROLE;
REVOKE CREATE ON SCHEMA usher FROM usher_verifier;
REVOKE usher_verifier FROM CURRENT_USER;
