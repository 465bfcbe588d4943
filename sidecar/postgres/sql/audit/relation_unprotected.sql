-- error: Materialized views and foreign tables cannot have row-level security: every user sees every row.
SELECT name AS object,
       string_agg(DISTINCT format('REVOKE ALL ON %s FROM %s;', name, grantee), E'\n') AS fix
FROM granted
WHERE relkind IN ('m', 'f') AND privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
GROUP BY name
