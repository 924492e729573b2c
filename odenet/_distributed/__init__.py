"""Fits of several processes: what they tell each other."""
