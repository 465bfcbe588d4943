-- error: The function asks for claims or settings and says it is IMMUTABLE: Postgres may keep the value of one user
-- in a plan that another runs.
, asks AS (
  SELECT oid, proname FROM functions
  WHERE body ~* '\m(auth\s*\.\s*(session|jwt|user_id|uid)|usher\s*\.\s*(claims|not_revoked)|current_setting)\s*\('
  UNION
  SELECT f.oid, f.proname FROM functions AS f
  JOIN asks AS a ON f.body ~ ('\m' || regexp_replace(a.proname::text, '(\W)', '\\\1', 'g') || '\s*\(')
)
SELECT name AS object, format('ALTER FUNCTION %s STABLE;', name) AS fix
FROM functions
WHERE provolatile = 'i' AND oid IN (SELECT oid FROM asks)
