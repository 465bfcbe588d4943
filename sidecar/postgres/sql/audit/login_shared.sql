-- warning: Sessions that share a login read and cancel one another's statements.
SELECT rolname AS object, format('ALTER ROLE %I CONNECTION LIMIT 1;', rolname) AS fix
FROM logins
WHERE rolconnlimit <> 1
