"""Builders and in-memory ports for tests, shipped for plugin authors."""
