"""Numbers as several inputs of a network each."""
