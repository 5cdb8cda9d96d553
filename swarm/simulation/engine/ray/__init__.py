"""Runs shards in Ray actors, on many cores or machines, with the same results as in one process.

Ray itself is imported when a run starts, not when this package is imported: see
:mod:`swarm.simulation.engine.ray.cluster`.
"""
