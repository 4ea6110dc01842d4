"""Preferences that narrow the candidates, one file each."""
