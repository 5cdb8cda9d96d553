"""A claim: a scenario of many runs that ends in a verdict.

``base`` is the interface of such a scenario, ``plan`` decides what is run, ``trials`` runs several
trials at a time, ``run`` leads from the plan to the verdict, ``page`` shows it, ``suite`` runs
several claims, and ``shared`` is what claims have in common besides.
"""
