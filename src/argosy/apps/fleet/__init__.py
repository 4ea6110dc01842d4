"""A fleet as people see and change it, wherever it runs: what the command line's verbs do."""
