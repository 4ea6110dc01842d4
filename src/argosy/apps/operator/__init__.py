"""The operator: LLMServices of a cluster into the objects that serve them."""
