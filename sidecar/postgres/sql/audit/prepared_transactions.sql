-- notice: A prepared transaction outlives its session, and holds its locks. Usher lets no PREPARE through; at 0 nobody
-- could.
SELECT 'max_prepared_transactions' AS object,
       E'-- needs a restart of the server\n-- ALTER SYSTEM SET max_prepared_transactions = 0;' AS fix
WHERE current_setting('max_prepared_transactions') <> '0'
