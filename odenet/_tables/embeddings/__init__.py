"""Columns as several inputs of a network each: numbers, and marks of categories."""
