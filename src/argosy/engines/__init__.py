"""What Argosy knows of each model server, one file each."""
