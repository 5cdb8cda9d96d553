"""Attacks: what hostile devices send, or learn from; one attack a file."""
