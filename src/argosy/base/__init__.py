"""Values that every room uses: endpoints, errors, the clock."""
