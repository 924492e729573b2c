"""One fit: from samples to a trained network."""
