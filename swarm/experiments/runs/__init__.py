"""One run of a scenario: it prepares and checks the arms, chooses their learning rates, runs them,
and writes a summary into the run folder.
"""
