-- warning: pg_stat_statements shows a user the statements of all users that run as the same role.
SELECT 'pg_stat_statements' AS object,
       string_agg(DISTINCT format('REVOKE %s FROM %s;', found.what, h.name), E'\n') AS fix
FROM (
  SELECT format('SELECT ON %s', c.oid::regclass) AS what, coalesce(c.relacl, acldefault('r', c.relowner)) AS acl
  FROM pg_class AS c
  JOIN of_extensions AS x ON x.classid = 'pg_class'::regclass AND x.objid = c.oid
  WHERE c.relname = 'pg_stat_statements'
  UNION ALL
  SELECT format('EXECUTE ON FUNCTION %s', p.oid::regprocedure), coalesce(p.proacl, acldefault('f', p.proowner))
  FROM pg_proc AS p
  JOIN of_extensions AS x ON x.classid = 'pg_proc'::regclass AND x.objid = p.oid
  WHERE p.proname = 'pg_stat_statements'
) AS found
CROSS JOIN LATERAL aclexplode(found.acl) AS a
JOIN holders AS h ON h.oid = a.grantee
WHERE a.privilege_type IN ('SELECT', 'EXECUTE')
HAVING count(*) > 0
