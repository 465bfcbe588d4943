-- warning: The sidecar has no login yet.
SELECT 'usher_login' AS object, '-- usher db install --logins 12' AS fix
WHERE NOT EXISTS (SELECT FROM logins)
