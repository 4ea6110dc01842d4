"""gRPC: the xDS server and the external-processing server."""
