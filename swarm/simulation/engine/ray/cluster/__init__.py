"""Starting and stopping Ray: one of our own that leaves nothing behind, or one that is there."""

from swarm.simulation.engine.ray.cluster.cluster import Cluster, ClusterError
from swarm.simulation.engine.ray.cluster.requirements import (
    require_answer,
    require_dashboard,
    require_ray,
)

__all__ = ["Cluster", "ClusterError", "require_answer", "require_dashboard", "require_ray"]
