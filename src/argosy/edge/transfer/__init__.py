"""Large states on their way from one process to another: sent, fetched, kept in memory files meanwhile."""
