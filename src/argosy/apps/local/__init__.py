"""The laptop runner: a supervisor, its object store and pods as processes."""
