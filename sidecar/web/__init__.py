"""HTTP: the published keys for the world, metrics and probes for the operator.

Owns both HTTP listeners, their limits, paths and headers. The only importer of aiohttp. Refuses to know how
keys rotate, how metrics are counted and what makes the sidecar ready: each is a function handed in.
"""
