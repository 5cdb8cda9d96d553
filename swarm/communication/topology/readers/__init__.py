"""Readers of graph files that need not be trusted.

Each reader takes the bytes of a file and fills a :class:`~.parsed.Parsed`. Every fault raises a
``ValueError`` that says where it is. No reader expands entities, follows references, unpickles,
evaluates, or reads more than the limits allow.
"""
