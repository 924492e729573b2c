"""Losses, each with its gradient, its score and its decision."""
