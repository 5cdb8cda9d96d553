"""Kernels: a model's forward and backward pass for a block of devices at once."""
