"""Wiring, one package per process."""
