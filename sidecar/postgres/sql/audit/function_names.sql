-- error: A policy calls the function, which leaves it to its caller where names are looked up, and one of its names
-- stands in several schemas: a statement chooses by search_path which of them the policy asks.
, asked AS (
  SELECT oid, body FROM functions
  WHERE oid IN (
    SELECT refobjid FROM pg_depend WHERE classid = 'pg_policy'::regclass AND refclassid = 'pg_proc'::regclass
  )
  UNION
  SELECT f.oid, f.body FROM functions AS f
  JOIN asked AS a ON a.body ~ ('\m' || regexp_replace(f.proname::text, '(\W)', '\\\1', 'g') || '\s*\(')
),
placed AS (
  SELECT c.relname AS name, c.relnamespace AS schema FROM pg_class AS c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION
  SELECT p.proname, p.pronamespace FROM pg_proc AS p
),
ambiguous AS MATERIALIZED (
  SELECT regexp_replace(p.name::text, '(\W)', '\\\1', 'g') AS name
  FROM placed AS p JOIN open_schemas AS n ON n.oid = p.schema
  GROUP BY p.name HAVING count(*) > 1
)
SELECT f.name AS object, format('ALTER ROUTINE %s SET search_path = %s, pg_temp;', f.name, f.schema) AS fix
FROM functions AS f
WHERE f.is_text AND f.search_path IS NULL AND f.oid IN (SELECT oid FROM asked)
  -- What is qualified stands behind a dot.
  AND EXISTS (SELECT FROM ambiguous AS a WHERE f.body ~* ('(^|[^.\w$])' || a.name || '\M'))
