"""Puts the installation on a cluster, and takes it off again."""
