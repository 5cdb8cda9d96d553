"""The machine below: files, folders, memory, signals, and the cache of fetched data sets."""
