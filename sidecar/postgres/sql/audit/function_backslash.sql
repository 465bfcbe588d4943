-- error: A plain string of the function holds a backslash, and a statement can set standard_conforming_strings so that
-- it means something else. PL/pgSQL keeps the first reading for the whole session, for the users that follow as well.
SELECT f.name AS object, format('ALTER ROUTINE %s SET standard_conforming_strings = on;', f.name) AS fix
FROM functions AS f
WHERE f.is_text
  AND NOT 'standard_conforming_strings=on' = ANY (coalesce(f.proconfig, '{}'))
  -- In E'...' a backslash means the same always.
  AND regexp_replace(f.body, $re$\m[Ee]'([^'\\]|\\.|'')*'$re$, '', 'g') LIKE '%\\%'
  AND (f.prorettype = 'trigger'::regtype OR EXISTS (
    SELECT FROM callable AS c
    WHERE c.oid = f.oid
       OR c.prosecdef AND c.body ~ ('\m' || regexp_replace(f.proname::text, '(\W)', '\\\1', 'g') || '\s*\(')
  ))
