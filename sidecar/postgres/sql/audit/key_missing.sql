-- error: Without a key no claims are believed. Tokens of pg_session_jwt need none.
SELECT 'usher.claim_key' AS object, '-- usher db key add' AS fix
WHERE NOT EXISTS (SELECT FROM usher.claim_key)
  AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_session_jwt')
