-- Only what is Usher's, by its comments. A policy that rests on a function keeps it, with an error. The roles
-- stay: other databases of the cluster may use them.
DO $$
DECLARE
  ours regprocedure;
  auth_schema oid := pg_catalog.to_regnamespace('auth');
BEGIN
  FOREACH ours IN ARRAY ARRAY(
    SELECT f.oid::regprocedure
    FROM pg_catalog.pg_proc AS f
    JOIN pg_catalog.unnest(ARRAY['uid', 'user_id', 'jwt', 'session']) WITH ORDINALITY AS wanted(name, place)
      ON f.proname = wanted.name
    WHERE f.pronamespace = auth_schema AND f.pronargs = 0
      AND pg_catalog.obj_description(f.oid, 'pg_proc') LIKE 'Usher: %'
    ORDER BY wanted.place
  ) LOOP
    EXECUTE format('DROP FUNCTION %s', ours);
  END LOOP;
  IF pg_catalog.obj_description(auth_schema, 'pg_namespace') LIKE 'Usher: %'
    AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = auth_schema
    ) THEN
    DROP SCHEMA auth;
  END IF;
END
$$;
