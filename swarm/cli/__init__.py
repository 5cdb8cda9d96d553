"""The commands that a person types: run a scenario, ``doctor``, ``report`` and ``publish``."""
