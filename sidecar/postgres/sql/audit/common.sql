-- What the checks beside this file share; each of them follows it. $1: the roles that statements run as.
WITH RECURSIVE server AS MATERIALIZED (
  SELECT current_setting('server_version_num')::int AS version,
         -- Since 16 a membership may come without the right to SET ROLE.
         CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END AS may_become
),
application AS MATERIALIZED (
  SELECT oid, rolname FROM pg_roles WHERE rolname = ANY ($1::text[])
),
-- Memberships that are more than the right to grant them.
memberships AS MATERIALIZED (
  SELECT m.roleid, m.member FROM pg_auth_members AS m
  WHERE coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
     OR coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)
),
-- The sidecar's logins. Whoever made usher_login is its member too since 16, with the admin option.
logins AS MATERIALIZED (
  SELECT l.oid, l.rolname, l.rolsuper, l.rolconnlimit
  FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid JOIN pg_roles AS l ON l.oid = m.member
  WHERE g.rolname = 'usher_login' AND l.rolcanlogin AND NOT m.admin_option
),
-- Whoever a statement can make itself. Superusers can do all: they are findings of their own.
reachable AS MATERIALIZED (
  SELECT r.oid FROM pg_roles AS r CROSS JOIN server
  WHERE NOT r.rolsuper AND (
    r.oid IN (SELECT oid FROM application)
    OR EXISTS (
      SELECT FROM logins AS l
      WHERE NOT l.rolsuper AND (l.oid = r.oid OR pg_has_role(l.oid, r.oid, server.may_become))
    )
  )
),
-- Those whose privileges they have.
holders AS MATERIALIZED (
  SELECT 0::oid AS oid, 'PUBLIC' AS name
  UNION ALL
  SELECT g.oid, quote_ident(g.rolname) FROM pg_roles AS g
  WHERE EXISTS (SELECT FROM reachable AS r WHERE pg_has_role(r.oid, g.oid, 'USAGE'))
),
of_extensions AS MATERIALIZED (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
open_schemas AS MATERIALIZED (
  SELECT n.oid, n.nspname FROM pg_namespace AS n
  WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND EXISTS (
    SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
    JOIN holders AS h ON h.oid = a.grantee
    WHERE a.privilege_type = 'USAGE'
  )
),
-- Privileges on tables and views that they have, one row for each.
granted AS MATERIALIZED (
  SELECT c.oid, c.relkind, c.relrowsecurity, c.reloptions,
         format('%I.%I', n.nspname, c.relname) AS name, a.privilege_type AS privilege, h.name AS grantee
  FROM pg_class AS c
  JOIN open_schemas AS n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
    SELECT e.grantee, e.privilege_type
    FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS e
    UNION
    SELECT e.grantee, e.privilege_type
    FROM pg_attribute AS t CROSS JOIN LATERAL aclexplode(t.attacl) AS e
    WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
  ) AS a
  JOIN holders AS h ON h.oid = a.grantee
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT EXISTS (
      SELECT FROM of_extensions AS x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid
    )
),
-- The application's functions.
functions AS MATERIALIZED (
  SELECT p.oid, p.proname, p.oid::regprocedure::text AS name, quote_ident(n.nspname) AS schema,
         p.prosecdef, p.provolatile, p.proleakproof, p.prorettype, p.proconfig,
         pg_get_function_sqlbody(p.oid) IS NULL AND l.lanname IN ('sql', 'plpgsql') AS is_text,
         (SELECT substr(s, length('search_path=') + 1) FROM unnest(p.proconfig) AS s
          WHERE s LIKE 'search_path=%') AS search_path,
         replace(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), '"', '') AS body
  FROM pg_proc AS p
  JOIN pg_namespace AS n ON n.oid = p.pronamespace
  JOIN pg_language AS l ON l.oid = p.prolang
  WHERE n.nspname NOT IN ('information_schema', 'auth', 'usher') AND n.nspname !~ '^pg_'
    AND p.prokind IN ('f', 'p')
    AND NOT EXISTS (
      SELECT FROM of_extensions AS x WHERE x.classid = 'pg_proc'::regclass AND x.objid = p.oid
    )
),
-- Those that a statement may call, one row for each grantee. A trigger's function cannot be called.
callable AS MATERIALIZED (
  SELECT f.*, h.name AS grantee
  FROM functions AS f
  JOIN pg_proc AS p ON p.oid = f.oid
  JOIN open_schemas AS n ON n.oid = p.pronamespace
  CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
  JOIN holders AS h ON h.oid = a.grantee
  WHERE f.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
)
