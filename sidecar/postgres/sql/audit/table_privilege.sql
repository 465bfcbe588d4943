-- warning: Row-level security does not bind TRUNCATE, and triggers and foreign keys look past it.
SELECT name AS object,
       string_agg(format('REVOKE %s ON %s FROM %s;', privilege, name, grantee), E'\n'
                  ORDER BY privilege, grantee) AS fix
FROM granted
WHERE relkind IN ('r', 'p', 'f') AND privilege IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN')
GROUP BY name
