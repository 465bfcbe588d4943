"""The services of the contract, whatever transport brings a call.

Owns messages and their validation, the access table, the proofs of callers, and what happens around every
call: deadline, policy, errors, one event. Imports the stubs, as the transports above do.
Refuses to know transports (sockets, metadata, frames) and rules: a service method converts, calls inward
once, and converts back.
"""
