"""Argosy serves large language models on Kubernetes, and the same file on a laptop."""

__version__ = "0.1.0"
