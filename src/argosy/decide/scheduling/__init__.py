"""Which endpoint of a pool a request goes to, and why."""
