"""HTTP/2 for gRPC servers, sans IO: bytes and the time in, events and bytes out (RFC 9113, RFC 7541)."""
