"""A fitted model in words and in figures."""
