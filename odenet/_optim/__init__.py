"""Optimizers of torch: the gradient flow, its integrators, Adam in depth."""
