"""Shards in Ray actors: the same numbers as in one process, on many cores or machines.

Ray itself is imported when a run starts, never when the package is: see
:mod:`swarm.simulation.engine.ray.cluster`.
"""
