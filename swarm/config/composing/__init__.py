"""From the words of a command line, or the arguments of a Python call, to one configuration."""
