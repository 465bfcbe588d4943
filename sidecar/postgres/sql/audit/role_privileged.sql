-- error: No policy binds a superuser or a role with BYPASSRLS, and the other attributes lead there.
SELECT r.rolname AS object,
       format('ALTER ROLE %I', r.rolname)
         || CASE WHEN r.rolsuper THEN ' NOSUPERUSER' ELSE '' END
         || CASE WHEN r.rolbypassrls THEN ' NOBYPASSRLS' ELSE '' END
         || CASE WHEN r.rolcreaterole THEN ' NOCREATEROLE' ELSE '' END
         || CASE WHEN r.rolcreatedb THEN ' NOCREATEDB' ELSE '' END
         || CASE WHEN r.rolreplication THEN ' NOREPLICATION' ELSE '' END || ';' AS fix
FROM pg_roles AS r
WHERE (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication)
  AND r.oid IN (SELECT oid FROM application UNION SELECT oid FROM logins)
