-- error: No policy applies to the owner of a table, unless the table forces it.
SELECT c.oid::regclass::text AS object, format('ALTER TABLE %s OWNER TO CURRENT_USER;', c.oid::regclass) AS fix
FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
  AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
  AND c.relowner IN (SELECT oid FROM holders)
