"""Starts and stops a Ray of our own, or connects to a Ray cluster that runs already."""

from swarm.simulation.engine.ray.cluster.cluster import Cluster, ClusterError
from swarm.simulation.engine.ray.cluster.requirements import (
    require_answer,
    require_dashboard,
    require_ray,
)

__all__ = ["Cluster", "ClusterError", "require_answer", "require_dashboard", "require_ray"]
