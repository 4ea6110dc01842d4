"""Orders of the candidates, one file each."""
