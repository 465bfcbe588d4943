-- error: A role of Usher is a member of one with power over the server or over all rows.
SELECT m.rolname AS object,
       string_agg(format('REVOKE %I FROM %I;', g.rolname, m.rolname), E'\n' ORDER BY g.rolname) AS fix
FROM memberships AS s
JOIN pg_roles AS g ON g.oid = s.roleid
JOIN pg_roles AS m ON m.oid = s.member
WHERE s.member IN (SELECT oid FROM application UNION SELECT oid FROM logins)
  AND EXISTS (
    SELECT FROM pg_roles AS x
    WHERE (x.rolsuper OR x.rolbypassrls OR x.rolcreaterole OR x.rolreplication OR x.rolname ~ '^pg_')
      AND pg_has_role(g.oid, x.oid, 'MEMBER')
  )
GROUP BY m.rolname
