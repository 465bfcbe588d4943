"""Postgres: connections, identities and values on the wire to the database.

Owns everything that asyncpg and SQL know: the pool and its cleaning, how claims reach a session, how values
are encoded, what SQLSTATEs mean, and the objects that `usher db install` installs. The only importer of
asyncpg. Refuses to know gRPC, the issuer's tokens and settings files; imports `core` alone.
"""
