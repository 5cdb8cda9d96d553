"""Local steps of fully connected chains in loops that numba compiles."""
