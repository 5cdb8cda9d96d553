"""Differential privacy: what is clipped and noised, and how much privacy that has spent."""
