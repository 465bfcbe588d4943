"""The backend `neon-http`: statements by Neon's `POST /sql`, claims by a signed token.

Neon checks the token, logs in as the role and makes the claims known to Postgres (pg_session_jwt); what runs
there is one batch, which is one transaction. How bytes reach Neon and how tokens are signed is handed in.
"""
