-- error: SELECT INTO makes tables where it may: rows left for other users, and names that stand in front of the
-- application's. In auth and usher nobody but the owner makes anything.
SELECT quote_ident(n.nspname) AS object,
       string_agg(format('REVOKE CREATE ON SCHEMA %I FROM %s;', n.nspname,
                         CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END), E'\n') AS fix
FROM pg_namespace AS n
CROSS JOIN LATERAL aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE a.privilege_type = 'CREATE' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND (a.grantee IN (SELECT oid FROM holders) OR n.nspname IN ('auth', 'usher') AND a.grantee <> n.nspowner)
GROUP BY n.nspname
