"""Data sets that are generated from a seed."""
