-- error: Whoever reads the deny list learns who is revoked; whoever writes it revokes, or lifts what is revoked.
SELECT 'usher.revocation' AS object,
       string_agg(DISTINCT format('REVOKE ALL ON usher.revocation FROM %s;',
                                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END), E'\n')
         || CASE WHEN bool_or(r.rolname = 'usher_verifier')
                 THEN E'\nGRANT SELECT, INSERT, UPDATE, DELETE ON usher.revocation TO usher_verifier;'
                 ELSE '' END AS fix
FROM pg_class AS c
CROSS JOIN LATERAL (
  SELECT e.grantee, e.privilege_type FROM aclexplode(c.relacl) AS e
  UNION
  SELECT e.grantee, e.privilege_type
  FROM pg_attribute AS t CROSS JOIN LATERAL aclexplode(t.attacl) AS e
  WHERE t.attrelid = c.oid
) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE c.oid = 'usher.revocation'::regclass AND a.grantee <> c.relowner
  AND NOT (r.rolname IS NOT DISTINCT FROM 'usher_verifier'
           AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
HAVING count(*) > 0
