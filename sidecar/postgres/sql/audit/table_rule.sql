-- error: The actions of a rule run as the owner of its table, whom the users' policies do not bind.
SELECT DISTINCT format('%I ON %s', r.rulename, g.name) AS object,
       format('-- make it a trigger; then DROP RULE %I ON %s;', r.rulename, g.name) AS fix
FROM pg_rewrite AS r
JOIN granted AS g ON g.oid = r.ev_class
WHERE g.relkind IN ('r', 'p') AND g.privilege IN ('INSERT', 'UPDATE', 'DELETE')
