"""Secure sums: whoever adds up masked rows learns their sum, and nothing else of them."""
