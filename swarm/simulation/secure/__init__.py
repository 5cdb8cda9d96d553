"""Secure sums in an arm: what goes together with them."""
