"""Metrics: what is measured of a swarm, each a value that knows how it is computed and shown."""
