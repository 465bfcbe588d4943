-- error: The view reads its tables as its owner, whom the users' policies do not bind.
SELECT g.name AS object,
       CASE WHEN server.version >= 150000
            THEN format('ALTER VIEW %s SET (security_invoker = true);', g.name)
            ELSE string_agg(DISTINCT format('REVOKE ALL ON %s FROM %s;', g.name, g.grantee), E'\n') END AS fix
FROM granted AS g CROSS JOIN server
WHERE g.relkind = 'v' AND g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  AND NOT EXISTS (
    SELECT FROM unnest(g.reloptions) AS o
    WHERE o ~ '^security_invoker=' AND substr(o, length('security_invoker=') + 1)::boolean
  )
GROUP BY g.name, server.version
