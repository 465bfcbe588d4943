-- warning: Nobody sees a row: the table is granted and has row-level security, but no policy for the role.
SELECT DISTINCT g.name AS object,
       format('-- CREATE POLICY tenant ON %s TO authenticated'
              ' USING ((SELECT auth.session() ->> ''tenant_id'') = tenant_id);', g.name) AS fix
FROM granted AS g
WHERE g.relkind IN ('r', 'p') AND g.relrowsecurity
  AND g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  AND NOT EXISTS (
    SELECT FROM pg_policy AS p WHERE p.polrelid = g.oid AND p.polroles && (SELECT array_agg(oid) FROM holders)
  )
