"""Scenarios: one file and one yaml each."""
