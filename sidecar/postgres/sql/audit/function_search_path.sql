-- error: A function that runs as its owner must say itself where names are looked up, temporary tables last: else
-- its caller does.
SELECT DISTINCT f.name AS object,
       format('ALTER ROUTINE %s SET search_path = %s, pg_temp;', f.name, f.schema) AS fix
FROM functions AS f
WHERE f.prosecdef
  AND (f.oid IN (SELECT oid FROM callable) OR f.prorettype = 'trigger'::regtype)
  -- An empty path is for functions that qualify every name.
  AND NOT coalesce(f.search_path ~ '(^|, ?)"?pg_temp"?$' OR f.search_path IN ('', '""'), false)
