-- warning: SELECT INTO makes temporary tables, whose names stand before all others in functions of the
-- application; every user may by Postgres' default.
SELECT d.datname AS object,
       string_agg(format('REVOKE TEMPORARY ON DATABASE %I FROM %s;', d.datname, h.name), E'\n') AS fix
FROM pg_database AS d
CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
JOIN holders AS h ON h.oid = a.grantee
WHERE d.datname = current_database() AND a.privilege_type = 'TEMPORARY'
GROUP BY d.datname
