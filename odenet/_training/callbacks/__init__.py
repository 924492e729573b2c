"""Callbacks that watch a training."""
