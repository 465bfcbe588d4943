-- The deny list: what is revoked before it expires, by the `jti` of one token, the `sub` of one user or the `kid`
-- of one key. All sidecars of the database share it, and a policy that asks usher.not_revoked() sees an entry as
-- soon as it is committed. docs/adr/0010-revocation.md tells why it is made so.

-- `issued_until` narrows an entry for a user to tokens with an `iat` up to it, in seconds since 1970; NULL is all.
CREATE TABLE IF NOT EXISTS usher.revocation (
  kind         text COLLATE "C" NOT NULL CHECK (kind IN ('jti', 'sub', 'kid')),
  value        text COLLATE "C" NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 1024),
  issued_until bigint CHECK (issued_until IS NULL OR kind = 'sub'),
  revoked_at   timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  CONSTRAINT revocation_pkey PRIMARY KEY (kind, value)
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
    WHERE c.oid = 'usher.revocation'::pg_catalog.regclass AND a.grantee <> c.relowner
  LOOP
    EXECUTE 'REVOKE ALL ON usher.revocation FROM ' || grantee;
  END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON usher.revocation TO usher_verifier;

-- As in step 2.
GRANT usher_verifier TO CURRENT_USER;
GRANT CREATE ON SCHEMA usher TO usher_verifier;
SET LOCAL ROLE usher_verifier;

-- Whether the tag is a claim key's for this message: key id, '.', and the lower-case hex HMAC-SHA-256. For the
-- functions of this role alone; usher.claims() has its own copy, because a call more would cost each query.
CREATE OR REPLACE FUNCTION usher.tag_fits(message pg_catalog.bytea, given_tag pg_catalog.text)
RETURNS pg_catalog.bool
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict error
DECLARE
  fitting text;
BEGIN
  SELECT k.id || '.' || encode(sha256(k.outer_pad || sha256(k.inner_pad || message)), 'hex')
  INTO fitting
  FROM usher.claim_key AS k
  WHERE k.id = split_part(given_tag, '.', 1);
  -- Hashed once more, as in usher.claims().
  RETURN coalesce(
    sha256(convert_to(fitting, 'UTF8')) = sha256(convert_to(given_tag, 'UTF8')), false);
END
$body$;
REVOKE ALL ON FUNCTION usher.tag_fits(pg_catalog.bytea, pg_catalog.text) FROM PUBLIC;

-- Does what a sidecar asks for, and returns the entries in force afterwards. The tag is over
--   'usher deny list v1' || timestamptz_send(now()) || int4send(backend pid) || request in UTF-8
-- so that it is good for this request in this transaction. Everyone may call it, since logins inherit nothing;
-- nobody but a sidecar can make the tag, and those of claims do not fit.
--
-- A request is JSON: `do` is list, revoke or lift; `kind` and `value` say what; `issued_until` (may be missing) and
-- `seconds` belong to revoke. What is revoked twice ends with the later of both, and covers the wider.
CREATE OR REPLACE FUNCTION usher.revocations(request pg_catalog.text, given_tag pg_catalog.text)
RETURNS TABLE (
  kind         pg_catalog.text,
  value        pg_catalog.text,
  issued_until pg_catalog.int8,
  revoked_at   pg_catalog.float8,
  expires_at   pg_catalog.float8
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict error
DECLARE
  asked jsonb;
  changed boolean := false;
BEGIN
  IF usher.tag_fits(
    convert_to('usher deny list v1', 'UTF8')
      || timestamptz_send(now()) || int4send(pg_backend_pid())
      || convert_to(request, 'UTF8'),
    given_tag) IS NOT TRUE
  THEN
    RAISE EXCEPTION 'the request is not a sidecar''s of this transaction' USING ERRCODE = 'US001';
  END IF;

  asked := request::jsonb;
  CASE asked ->> 'do'
  WHEN 'list' THEN
    NULL;
  WHEN 'revoke' THEN
    -- Entries that are over are nobody's business; whoever adds one sweeps them away.
    DELETE FROM usher.revocation AS r WHERE r.expires_at <= now();
    INSERT INTO usher.revocation AS r (kind, value, issued_until, revoked_at, expires_at)
    VALUES (asked ->> 'kind', asked ->> 'value', (asked ->> 'issued_until')::bigint, now(),
            now() + make_interval(secs => (asked ->> 'seconds')::double precision))
    ON CONFLICT ON CONSTRAINT revocation_pkey DO UPDATE SET
      -- greatest() looks past NULL, which is the wider one.
      issued_until = CASE WHEN r.issued_until IS NOT NULL AND excluded.issued_until IS NOT NULL
                          THEN greatest(r.issued_until, excluded.issued_until) END,
      revoked_at = excluded.revoked_at,
      expires_at = greatest(r.expires_at, excluded.expires_at);
    changed := true;
  WHEN 'lift' THEN
    DELETE FROM usher.revocation AS r
    WHERE r.kind = asked ->> 'kind' AND r.value = asked ->> 'value';
    changed := FOUND;
  END CASE;
  IF changed THEN
    -- Without a word of what: everyone may listen, and nothing that is heard is believed.
    PERFORM pg_notify('usher_revocations', '');
  END IF;

  RETURN QUERY
  SELECT r.kind::text, r.value::text, r.issued_until, extract(epoch FROM r.revoked_at)::float8,
         extract(epoch FROM r.expires_at)::float8
  FROM usher.revocation AS r
  WHERE r.expires_at > now()
  ORDER BY r.revoked_at DESC, r.kind, r.value;
END
$body$;
GRANT EXECUTE ON FUNCTION usher.revocations(pg_catalog.text, pg_catalog.text) TO PUBLIC;

-- For policies: whether nothing of the claims in force is revoked. False where no claims are in force, so that a
-- policy which asks nothing else stays shut; an error for claims that are not this transaction's. It tells each
-- user of themselves alone. `usher_kid` is the key of the token, which the sidecar adds to a token's claims.
CREATE OR REPLACE FUNCTION usher.not_revoked() RETURNS pg_catalog.bool
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict error
DECLARE
  claims jsonb := usher.claims();
BEGIN
  RETURN jsonb_typeof(claims) = 'object' AND NOT EXISTS (
    SELECT FROM usher.revocation AS r
    WHERE r.kind = 'jti' AND r.value = claims ->> 'jti' AND r.expires_at > now()
    UNION ALL
    SELECT FROM usher.revocation AS r
    WHERE r.kind = 'kid' AND r.value = claims ->> 'usher_kid' AND r.expires_at > now()
    UNION ALL
    SELECT FROM usher.revocation AS r
    WHERE r.kind = 'sub' AND r.value = claims ->> 'sub' AND r.expires_at > now()
      AND coalesce((claims ->> 'iat')::numeric <= r.issued_until, true)
  );
END
$body$;
GRANT EXECUTE ON FUNCTION usher.not_revoked() TO PUBLIC;

RESET ROLE;
REVOKE CREATE ON SCHEMA usher FROM usher_verifier;
REVOKE usher_verifier FROM CURRENT_USER;
