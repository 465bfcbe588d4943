-- Back to tags bound to the transaction alone, which sidecars fall back to by themselves. Sessions that had a
-- number are opened anew.
DROP FUNCTION IF EXISTS usher.next_challenge();

GRANT usher_verifier TO CURRENT_USER;
GRANT CREATE ON SCHEMA usher TO usher_verifier;
SET LOCAL ROLE usher_verifier;

-- As in step 2.
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

RESET ROLE;
REVOKE CREATE ON SCHEMA usher FROM usher_verifier;
REVOKE usher_verifier FROM CURRENT_USER;

DROP SEQUENCE IF EXISTS usher.challenge;
