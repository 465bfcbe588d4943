-- error: Whoever is usher_verifier reads the keys and may replace what checks the claims.
SELECT 'usher_verifier' AS object,
       string_agg(format('REVOKE usher_verifier FROM %I;', m.rolname), E'\n' ORDER BY m.rolname) AS fix
FROM memberships AS s
JOIN pg_roles AS g ON g.oid = s.roleid
JOIN pg_roles AS m ON m.oid = s.member
WHERE g.rolname = 'usher_verifier' AND NOT m.rolsuper
HAVING count(*) > 0
UNION ALL
SELECT 'usher_verifier', 'ALTER ROLE usher_verifier NOLOGIN;'
FROM pg_roles WHERE rolname = 'usher_verifier' AND rolcanlogin
