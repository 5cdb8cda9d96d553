"""From words of a command line, or of Python, to one configuration."""
