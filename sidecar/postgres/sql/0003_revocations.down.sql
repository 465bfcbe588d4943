-- A policy that rests on usher.not_revoked() keeps it, with an error. What was revoked is forgotten.
DROP FUNCTION IF EXISTS usher.not_revoked();
DROP FUNCTION IF EXISTS usher.revocations(pg_catalog.text, pg_catalog.text);
DROP FUNCTION IF EXISTS usher.tag_fits(pg_catalog.bytea, pg_catalog.text);
DROP TABLE IF EXISTS usher.revocation;
