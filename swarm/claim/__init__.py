"""The seam of a scenario that judges a claim: what is run, what is measured, and the rule that gives the verdict."""
