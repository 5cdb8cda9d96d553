"""A claim: a scenario of many runs that ends in a verdict.

``base`` is the interface of such a scenario, ``plan`` decides what is run, ``trials`` runs it
several at a time, ``run`` leads from there to the verdict, ``page`` shows it, and ``suite`` does so
for several claims.
"""
