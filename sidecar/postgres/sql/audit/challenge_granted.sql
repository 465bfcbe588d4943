-- error: Whoever sets the number of a session makes the claims of an earlier request believed again.
SELECT 'usher.challenge' AS object,
       string_agg(DISTINCT format('REVOKE ALL ON SEQUENCE usher.challenge FROM %s;',
                                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END), E'\n')
         AS fix
FROM pg_class AS c
CROSS JOIN LATERAL aclexplode(c.relacl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE c.oid = to_regclass('usher.challenge') AND a.grantee <> c.relowner
  AND r.rolname IS DISTINCT FROM 'usher_verifier'
HAVING count(*) > 0
