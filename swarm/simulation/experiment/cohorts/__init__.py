"""A swarm whose devices have models of several shapes (``cohorts``)."""
