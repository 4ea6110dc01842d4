"""HTTP clients: scraping of metrics."""
