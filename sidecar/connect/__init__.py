"""The Connect protocol: the contract's methods over HTTP/1.1, in protobuf and in JSON.

Owns its listener (TCP, TLS, Unix socket), HTTP with its limits, and how errors, deadlines and origins travel
in it. The only importer of httptools.
Refuses to know what a call does: sidecar/services has that, for every transport.
"""
