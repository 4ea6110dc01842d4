"""The llama.cpp model server."""
