"""Checks of plug-ins: before a run starts, and by their authors in tests."""
