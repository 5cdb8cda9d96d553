"""Partitions: rules that assign training samples to devices, one file and one yaml for each rule.

Each rule is vectorised over samples, so that 100,000 devices take seconds.
"""

from swarm.data.partition.base import Partition
from swarm.data.partition.dirichlet import Dirichlet
from swarm.data.partition.iid import Iid
from swarm.data.partition.natural import Natural
from swarm.data.partition.pathological import Pathological
from swarm.data.partition.quantity_skew import QuantitySkew
from swarm.data.partition.rare import Rare

__all__ = ["Dirichlet", "Iid", "Natural", "Partition", "Pathological", "QuantitySkew", "Rare"]
