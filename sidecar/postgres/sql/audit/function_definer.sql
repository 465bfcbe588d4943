-- warning: The function runs as its owner, whom the users' policies do not bind: whatever it gives away must be
-- decided in it. Accept it by name once it is reviewed.
SELECT name AS object,
       string_agg(format('REVOKE EXECUTE ON ROUTINE %s FROM %s;', name, grantee), E'\n' ORDER BY grantee) AS fix
FROM callable
WHERE prosecdef
GROUP BY name
