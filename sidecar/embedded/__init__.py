"""Embedded: a PostgreSQL of one's own, for `usher dev` and the tests.

Owns the server's binaries, its data folder with passwords and port, the account it runs as, and its process:
whoever starts it, and however that ends, no process and no lock is left behind. Refuses to know SQL, roles,
asyncpg and what the database is for; imports `core` alone.
"""
