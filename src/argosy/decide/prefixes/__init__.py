"""Which endpoint probably holds the beginning of a prompt in its cache."""
