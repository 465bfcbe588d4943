-- What the bench asks for: rows of six mixed columns, and notes to write, under the policies of the demo.
CREATE TABLE items (
  tenant_id text NOT NULL,
  id        int8 NOT NULL,
  name      text NOT NULL,
  key       uuid NOT NULL,
  made_at   timestamptz NOT NULL,
  amount    numeric(12, 2) NOT NULL,
  extra     jsonb NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
INSERT INTO items
SELECT tenant, n, 'item ' || n, gen_random_uuid(), now() - n * interval '1 minute', n / 7.0,
       jsonb_build_object('n', n, 'tags', jsonb_build_array('a', 'b'))
FROM unnest(ARRAY['acme', 'globex']) AS tenant, generate_series(1, 10000) AS n;

CREATE TABLE notes (
  tenant_id text NOT NULL,
  id        int8 NOT NULL,
  body      text NOT NULL,
  PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 50);
INSERT INTO notes
SELECT tenant, n, 'note ' || n FROM unnest(ARRAY['acme', 'globex']) AS tenant, generate_series(1, 1024) AS n;

ALTER TABLE items ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON items TO authenticated;
GRANT SELECT, UPDATE ON notes TO authenticated;
CREATE POLICY items_read ON items FOR SELECT TO authenticated
  USING ((SELECT auth.session() ->> 'tenant_id') = tenant_id);
CREATE POLICY notes_read ON notes FOR SELECT TO authenticated
  USING ((SELECT auth.session() ->> 'tenant_id') = tenant_id);
CREATE POLICY notes_update ON notes FOR UPDATE TO authenticated
  USING ((SELECT auth.session() ->> 'tenant_id') = tenant_id)
  WITH CHECK ((SELECT auth.session() ->> 'tenant_id') = tenant_id);
ANALYZE items, notes;
