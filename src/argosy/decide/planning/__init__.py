"""LLMService objects and what is observed → desired objects, changes and status."""
