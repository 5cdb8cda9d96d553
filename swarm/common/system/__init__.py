"""The operating system: files, folders, memory, signals, and the cache of fetched data sets."""
