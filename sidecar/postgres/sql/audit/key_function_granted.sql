-- error: All functions of the schema usher but those that check a tag themselves are the owner's alone.
SELECT p.oid::regprocedure::text AS object,
       string_agg(DISTINCT format('REVOKE ALL ON FUNCTION %s FROM %s;', p.oid::regprocedure,
                                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END), E'\n')
         AS fix
FROM pg_proc AS p
CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE p.pronamespace = 'usher'::regnamespace
  AND p.oid::regprocedure::text NOT IN
    ('usher.claims()', 'usher.not_revoked()', 'usher.revocations(text,text)')
  AND a.grantee <> p.proowner
GROUP BY p.oid
