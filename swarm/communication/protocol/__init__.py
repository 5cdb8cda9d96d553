"""Protocols: what devices send and how they use what they receive.

One file and one yaml each, the paper on top.
"""
