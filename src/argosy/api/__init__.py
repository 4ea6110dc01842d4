"""Every object that Argosy reads or writes: decoded, validated, encoded."""
