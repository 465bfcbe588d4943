"""gRPC: the contract of proto/usher/v1 on real sockets.

Owns gRPC's listeners, statuses, health and reflection, and the relay before its Unix sockets. The only
importer of grpc (beside the command line, which is a client).
Refuses to know what a call does: sidecar/services has that, for every transport.
"""
