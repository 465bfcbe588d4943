-- notice: The action of a foreign key is not bound by row-level security: it changes rows that the user does not
-- see, unless the key holds the tenant.
SELECT DISTINCT format('%s.%I', k.conrelid::regclass, k.conname) AS object,
       '-- put the tenant into both keys, or take the action away' AS fix
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN granted AS g ON g.oid = k.confrelid
WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relrowsecurity
  AND (k.confdeltype IN ('c', 'n', 'd') AND g.privilege = 'DELETE'
       OR k.confupdtype IN ('c', 'n', 'd') AND g.privilege = 'UPDATE')
