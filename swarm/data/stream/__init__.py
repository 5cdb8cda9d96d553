"""Streams: the order in which a device meets its samples, how concepts drift along it, and which
labels the device observes.
"""
