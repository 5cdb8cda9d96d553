"""Checks of plug-ins: tried before a run starts, or by their author."""
