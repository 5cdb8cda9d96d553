"""The run folder: what is written to it, and how it is read, shown and compared."""
