"""From the words of a command line to plug-ins: Hydra composes the configuration, the settings are
checked, and only classes that are allowed are built.
"""
