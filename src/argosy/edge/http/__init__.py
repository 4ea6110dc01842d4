"""Metrics and probes over HTTP: scraped from engines, served by our processes."""
