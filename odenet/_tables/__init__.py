"""From a table to tensors, and back to targets."""
