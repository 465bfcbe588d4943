-- error: A statement that can make schemas can leave rows there for other users.
SELECT d.datname AS object,
       string_agg(format('REVOKE CREATE ON DATABASE %I FROM %s;', d.datname, h.name), E'\n') AS fix
FROM pg_database AS d
CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
JOIN holders AS h ON h.oid = a.grantee
WHERE d.datname = current_database() AND a.privilege_type = 'CREATE'
GROUP BY d.datname
