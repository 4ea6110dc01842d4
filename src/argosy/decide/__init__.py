"""Decisions: plain functions from values to values, without waiting."""
