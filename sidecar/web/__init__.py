"""HTTP: the published keys for the world, metrics and probes for the operator, and two clients.

Owns both HTTP listeners, their limits, paths and headers, and how other servers are asked. The only importer
of aiohttp. Refuses to know how keys rotate, how metrics are counted, what makes the sidecar ready and what
is asked: each is a function handed in, or is handed one.
"""
