"""Readers of files in Arrow's formats, and of folders of them."""
