"""Smaller models of a trained one's parameters: fewer neurons, or fewer bits a number."""

from swarm.learning.model_compression.smaller import prune_neurons, quantise

__all__ = ["prune_neurons", "quantise"]
