"""Attacks on the privacy of a swarm, as measurements."""
