-- The key store: the ring that all replicas share, what they say of themselves, and who fetched which set.
-- Times are seconds since 1970, by this server's clock. Two roles own nothing and may do what they need:
-- usher_keys is a sidecar's, usher_keys_edge that of `usher jwks`, which sees no private key, sealed or not.

DO $$
BEGIN
  IF pg_catalog.to_regrole('usher_keys') IS NULL THEN
    CREATE ROLE usher_keys NOLOGIN;
  END IF;
  IF pg_catalog.to_regrole('usher_keys_edge') IS NULL THEN
    CREATE ROLE usher_keys_edge NOLOGIN;
  END IF;
END
$$;

CREATE TABLE IF NOT EXISTS usher_keys.ring (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  -- Part of what each private key is sealed for: a copy of a row does not open in another store.
  store_id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
  version  bigint NOT NULL DEFAULT 0
);
INSERT INTO usher_keys.ring DEFAULT VALUES ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS usher_keys.key (
  kid          text PRIMARY KEY,
  place        integer NOT NULL UNIQUE,
  alg          text NOT NULL,
  jwk          json NOT NULL,
  state        text NOT NULL CHECK (state IN ('prepared', 'active', 'retired')),
  published_at double precision NOT NULL,
  activated_at double precision,
  retired_at   double precision,
  served_at    double precision,
  idle_at      double precision,
  revoke_at    double precision,
  published_in bigint NOT NULL,
  retired_in   bigint NOT NULL,
  token_ttl    bigint NOT NULL,
  sealed       text,
  kek          text,
  CHECK ((sealed IS NULL) = (state = 'retired') AND (kek IS NULL) = (sealed IS NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS one_active ON usher_keys.key (state) WHERE state = 'active';
CREATE UNIQUE INDEX IF NOT EXISTS one_prepared ON usher_keys.key (state) WHERE state = 'prepared';

CREATE TABLE IF NOT EXISTS usher_keys.replica (
  id           text PRIMARY KEY,
  version      bigint NOT NULL,
  served_since double precision NOT NULL,
  seen_at      double precision NOT NULL,
  signs_until  double precision NOT NULL,
  token_ttl    bigint NOT NULL,
  skew         double precision NOT NULL
);

CREATE TABLE IF NOT EXISTS usher_keys.verifier (
  name       text PRIMARY KEY,
  version    bigint NOT NULL,
  fetched_at double precision NOT NULL
);

REVOKE ALL ON SCHEMA usher_keys FROM PUBLIC;
GRANT USAGE ON SCHEMA usher_keys TO usher_keys, usher_keys_edge;
GRANT SELECT, UPDATE ON usher_keys.ring TO usher_keys;
GRANT SELECT, INSERT, DELETE ON usher_keys.key TO usher_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON usher_keys.replica, usher_keys.verifier TO usher_keys, usher_keys_edge;
GRANT SELECT ON usher_keys.ring TO usher_keys_edge;
GRANT SELECT (kid, place, alg, jwk, state, published_at, activated_at, retired_at, served_at, idle_at, revoke_at,
  published_in, retired_in, token_ttl) ON usher_keys.key TO usher_keys_edge;

-- An edge speaks for edges alone: a sidecar that it could forget would be one whose keys leave too early.
ALTER TABLE usher_keys.replica ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS sidecar ON usher_keys.replica;
CREATE POLICY sidecar ON usher_keys.replica TO usher_keys USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS edge_reads ON usher_keys.replica;
CREATE POLICY edge_reads ON usher_keys.replica FOR SELECT TO usher_keys_edge USING (true);
DROP POLICY IF EXISTS edge ON usher_keys.replica;
CREATE POLICY edge ON usher_keys.replica TO usher_keys_edge USING (signs_until = 0) WITH CHECK (signs_until = 0);
