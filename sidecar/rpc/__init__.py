"""gRPC: the contract of proto/usher/v1 on real sockets.

Owns messages and their validation, deadlines, status codes and error details, health and reflection. The
only importer of grpc and of the generated stubs (beside the command line, which is a client).
Refuses to know rules: a service method converts, calls inward once, and converts back.
"""
