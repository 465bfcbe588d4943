-- warning: The server's log shows parameters of statements, claims among them. It takes a superuser to stop it;
-- sessions that are open keep what they have.
SELECT l.rolname AS object,
       format(E'ALTER ROLE %1$I SET log_parameter_max_length = 0;\n'
              'ALTER ROLE %1$I SET log_parameter_max_length_on_error = 0;', l.rolname) AS fix
FROM logins AS l
CROSS JOIN LATERAL (
  SELECT jsonb_object_agg(wanted.name, coalesce(own.value, current_setting(wanted.name))) AS in_force
  FROM unnest(ARRAY['log_statement', 'log_min_duration_statement', 'log_min_duration_sample',
                    'log_transaction_sample_rate', 'log_parameter_max_length',
                    'log_parameter_max_length_on_error']) AS wanted (name)
  LEFT JOIN LATERAL (
    SELECT substr(pair, length(wanted.name) + 2)
    FROM pg_db_role_setting AS s CROSS JOIN LATERAL unnest(s.setconfig) AS pair
    WHERE s.setrole IN (0, l.oid) AND starts_with(pair, wanted.name || '=')
      AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    -- What is set for the login counts more than what is set for the database.
    ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC
    LIMIT 1
  ) AS own (value) ON true
) AS settings
WHERE in_force ->> 'log_parameter_max_length' <> '0'
    AND (in_force ->> 'log_statement' IN ('mod', 'all')
      OR in_force ->> 'log_min_duration_statement' <> '-1'
      OR in_force ->> 'log_min_duration_sample' <> '-1'
      OR in_force ->> 'log_transaction_sample_rate' <> '0')
  OR in_force ->> 'log_parameter_max_length_on_error' <> '0'
