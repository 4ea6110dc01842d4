"""Keys and certificates: made, read, and read again from files that change."""
