"""Readers of graphs that are written as text, other than edge lists."""
