"""Model weights: found and checked."""
