"""Writes the page that shows a claim's verdict, and its pictures."""
