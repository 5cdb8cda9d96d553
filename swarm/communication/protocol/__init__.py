"""Protocols: what devices send, and how they use what they receive.

Each protocol has one file, which begins with its paper, and one yaml.
"""
