"""Training sets that memory cannot hold: rows in a file, and how they are read."""
