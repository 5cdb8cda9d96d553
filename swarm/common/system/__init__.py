"""The operating system: files, folders, memory, signals, and other processes."""
