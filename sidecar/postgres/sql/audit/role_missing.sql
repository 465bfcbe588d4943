-- error: Statements cannot run as a role that does not exist.
SELECT wanted AS object, '-- usher db install' AS fix
FROM unnest($1::text[]) AS wanted
WHERE wanted NOT IN (SELECT rolname FROM application)
