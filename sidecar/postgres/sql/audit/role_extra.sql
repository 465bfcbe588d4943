-- warning: A statement may make itself any role of its login. Claims are refused there, but policies and grants
-- that ask no claims hold; name it by --role when statements are meant to run as it.
SELECT m.rolname AS object,
       string_agg(format('REVOKE %I FROM %I;', g.rolname, m.rolname), E'\n' ORDER BY g.rolname) AS fix
FROM memberships AS s
JOIN pg_roles AS g ON g.oid = s.roleid
JOIN pg_roles AS m ON m.oid = s.member
WHERE s.member IN (SELECT oid FROM application UNION SELECT oid FROM logins)
  AND g.oid NOT IN (SELECT oid FROM application)
  AND g.rolname NOT IN ('usher_login', 'usher_verifier')
  AND NOT EXISTS (
    SELECT FROM pg_roles AS x
    WHERE (x.rolsuper OR x.rolbypassrls OR x.rolcreaterole OR x.rolreplication OR x.rolname ~ '^pg_')
      AND pg_has_role(g.oid, x.oid, 'MEMBER')
  )
GROUP BY m.rolname
