"""The commands that a person types: they run a scenario, or are one of ``doctor``, ``report``,
``publish``, ``audit`` and ``write``."""
