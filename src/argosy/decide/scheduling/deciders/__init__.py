"""Deciders: whether a request goes to a prefill worker first, one file each."""
