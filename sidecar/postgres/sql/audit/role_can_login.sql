-- warning: Whoever logs in as this role is no session of the sidecar: missing claims are no error there.
SELECT r.rolname AS object, format('ALTER ROLE %I NOLOGIN;', r.rolname) AS fix
FROM pg_roles AS r
WHERE r.rolcanlogin AND r.oid IN (SELECT oid FROM application)
