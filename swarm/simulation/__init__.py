"""Simulates one arm round by round."""
