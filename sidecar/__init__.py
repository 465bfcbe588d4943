"""Usher: an authorization sidecar that shows every service to its own rows.

Rooms, lowest first; each imports only what stands before it: `core`, then `postgres`, `rpc`, `web`,
`telemetry` and `embedded` side by side, then `config`, `app` and `cli`. docs/architecture.md draws it.
"""

__version__ = "0.1.0"
