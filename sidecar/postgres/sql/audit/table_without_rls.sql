-- error: Every user sees every row: the table is granted and has no row-level security. A partition has its own.
SELECT DISTINCT name AS object, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', name) AS fix
FROM granted
WHERE relkind IN ('r', 'p') AND NOT relrowsecurity
  AND privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
