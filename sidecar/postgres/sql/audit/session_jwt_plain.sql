-- notice: pg_session_jwt believes plain claims in sessions that were opened without a key. The sidecar's have one;
-- whoever else logs in may be anyone to the policies.
SELECT 'pg_session_jwt' AS object,
       '-- give no other application a login that may become authenticated' AS fix
WHERE EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_session_jwt')
