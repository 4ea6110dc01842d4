"""Judgements of the candidates, one file each."""
