"""The rules of Usher, without any I/O.

Owns claims, keys and their life, tokens, statements and results, and what may go wrong. Refuses to know
gRPC, HTTP, asyncpg, Prometheus, the environment, and the wall clock (but for `clock.SystemClock`).
Inside this room a file imports only files that stand above it in docs/architecture.md.
"""
