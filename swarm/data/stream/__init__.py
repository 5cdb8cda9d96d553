"""The order in which a device meets its samples, how concepts drift, and which labels it is
told.
"""
