-- error: Whoever reads the keys may be anyone; whoever writes them, too.
SELECT 'usher.claim_key' AS object,
       string_agg(DISTINCT format('REVOKE ALL ON usher.claim_key FROM %s;',
                                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END), E'\n')
         || CASE WHEN bool_or(r.rolname = 'usher_verifier')
                 THEN E'\nGRANT SELECT ON usher.claim_key TO usher_verifier;' ELSE '' END AS fix
FROM pg_class AS c
CROSS JOIN LATERAL (
  SELECT e.grantee, e.privilege_type FROM aclexplode(c.relacl) AS e
  UNION
  SELECT e.grantee, e.privilege_type
  FROM pg_attribute AS t CROSS JOIN LATERAL aclexplode(t.attacl) AS e
  WHERE t.attrelid = c.oid
) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE c.oid = 'usher.claim_key'::regclass AND a.grantee <> c.relowner
  AND NOT (r.rolname IS NOT DISTINCT FROM 'usher_verifier' AND a.privilege_type = 'SELECT')
HAVING count(*) > 0
