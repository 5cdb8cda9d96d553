"""Experiments of many arms and many runs: a single run, a sweep, a claim."""
