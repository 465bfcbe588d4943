-- The demo: two tenants, four users, and row-level security as in Neon's guide to custom JWTs.
CREATE TABLE IF NOT EXISTS tenants (
  id   text PRIMARY KEY,
  name text NOT NULL
);

CREATE TABLE IF NOT EXISTS users (
  tenant_id text NOT NULL REFERENCES tenants (id),
  id        text PRIMARY KEY,
  name      text NOT NULL,
  email     text NOT NULL
);

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenants, users TO authenticated;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_policies WHERE schemaname = 'public' AND tablename IN ('tenants', 'users')) THEN
    RETURN;
  END IF;

  -- A tenant's members read and modify their tenant: the `tenant_id` claim decides. The sub-select makes
  -- Postgres ask for the claim once a statement, not once a row.
  CREATE POLICY tenants_read ON tenants FOR SELECT TO authenticated
    USING ((SELECT auth.session() ->> 'tenant_id') = id);
  CREATE POLICY tenants_insert ON tenants FOR INSERT TO authenticated
    WITH CHECK ((SELECT auth.session() ->> 'tenant_id') = id);
  CREATE POLICY tenants_update ON tenants FOR UPDATE TO authenticated
    USING ((SELECT auth.session() ->> 'tenant_id') = id)
    WITH CHECK ((SELECT auth.session() ->> 'tenant_id') = id);
  CREATE POLICY tenants_delete ON tenants FOR DELETE TO authenticated
    USING ((SELECT auth.session() ->> 'tenant_id') = id);

  -- A user reads and modifies their own record: the `sub` claim decides.
  CREATE POLICY users_read ON users FOR SELECT TO authenticated
    USING ((SELECT auth.user_id()) = id);
  CREATE POLICY users_insert ON users FOR INSERT TO authenticated
    WITH CHECK ((SELECT auth.user_id()) = id);
  CREATE POLICY users_update ON users FOR UPDATE TO authenticated
    USING ((SELECT auth.user_id()) = id)
    WITH CHECK ((SELECT auth.user_id()) = id);
  CREATE POLICY users_delete ON users FOR DELETE TO authenticated
    USING ((SELECT auth.user_id()) = id);
END
$$;

INSERT INTO tenants (id, name) VALUES
  ('acme', 'Acme Corporation'),
  ('globex', 'Globex Incorporated')
ON CONFLICT DO NOTHING;

INSERT INTO users (tenant_id, id, name, email) VALUES
  ('acme', 'alice', 'Alice Archer', 'alice@acme.example'),
  ('acme', 'bob', 'Bob Baker', 'bob@acme.example'),
  ('globex', 'carol', 'Carol Cooper', 'carol@globex.example'),
  ('globex', 'dave', 'Dave Draper', 'dave@globex.example')
ON CONFLICT DO NOTHING;
