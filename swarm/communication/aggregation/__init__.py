"""Aggregation rules: how a device combines the rows that it heard with its own; one rule a file."""
