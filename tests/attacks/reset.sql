-- Puts the tables back, whatever an attack has done to them.
DROP TABLE IF EXISTS public.made, public.x;
DROP FUNCTION IF EXISTS public.mine();
REVOKE ALL ON salaries FROM PUBLIC;
DROP TRIGGER IF EXISTS t ON notes;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
TRUNCATE notes, accounts, invoices, bulletins, salaries, audit, topics, posts, mistakes.plain,
  mistakes.folded, mistakes.parts, mistakes.branches, mistakes.members, mistakes.lists, mistakes.journal, members
  RESTART IDENTITY;
INSERT INTO notes (tenant_id, owner, body) VALUES
  ('acme', 'alice', 'acme note'), ('globex', 'bob', 'canaryglobex5d1f');
INSERT INTO accounts VALUES ('alice@acme.example', 'acme'), ('bob@globex.example', 'globex');
INSERT INTO invoices VALUES (1, 'acme', 'alice@acme.example'), (2, 'globex', 'bob@globex.example');
INSERT INTO bulletins VALUES (1, 'canaryglobex5d1f');
INSERT INTO salaries VALUES ('globex', 'canaryglobex5d1f');
INSERT INTO mistakes.plain VALUES ('globex', 'canaryglobex5d1f');
INSERT INTO mistakes.folded VALUES ('acme', 'acme folded'), ('globex', 'canaryglobex5d1f');
SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
TRUNCATE usher.revocation;
INSERT INTO usher.revocation VALUES ('sub', 'canaryglobex5d1f', NULL, now(), now() + interval '1 h');
INSERT INTO topics VALUES (1, 'acme');
INSERT INTO posts VALUES (1, 'globex');
INSERT INTO mistakes.parts VALUES ('globex', 'canaryglobex5d1f');
INSERT INTO mistakes.branches VALUES ('acme_north', 'acme branch'), ('acmebank', 'canaryglobex5d1f');
INSERT INTO members VALUES ('acme', 'acme list');
INSERT INTO mistakes.members VALUES ('acme', 'globex list');
INSERT INTO mistakes.lists VALUES ('acme list', 'acme members'), ('globex list', 'canaryglobex5d1f');
