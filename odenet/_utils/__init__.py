"""Helpers for all packages: scikit-learn's private names, devices, files."""
