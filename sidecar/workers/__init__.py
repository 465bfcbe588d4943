"""Workers: several processes that are one sidecar, and the supervisor that keeps them.

Owns how they are started and replaced, and what passes between them: settings, keys and revocations down,
what changes them and how they are up. Refuses to know what a worker serves and how the supervisor's own
listeners work: app hands in both.
"""
