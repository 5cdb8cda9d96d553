"""Models of several shapes in one swarm: which of their numbers are the same ones."""
