"""Readers of table files: one for each format, all with a bound on the memory they take."""
