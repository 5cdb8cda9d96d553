"""Topologies: who is linked to whom in each round; one graph, or a family of graphs, a file."""
