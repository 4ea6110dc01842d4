"""Which pool a request belongs to."""
