-- error: Without a key no claims are believed.
SELECT 'usher.claim_key' AS object, '-- usher db key add' AS fix
WHERE NOT EXISTS (SELECT FROM usher.claim_key)
