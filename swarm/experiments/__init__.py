"""Many arms and many runs: one run, a sweep, a claim."""
