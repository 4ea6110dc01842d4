"""The object store: its port, the in-memory one, and the one behind a socket."""
