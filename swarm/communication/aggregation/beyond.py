"""How many devices have more hostile neighbours than their aggregation rule bears."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import hypergeom

from swarm.communication.aggregation.base import Aggregator
from swarm.communication.topology.graph import Graph


def share_beyond(rule: Aggregator, graphs: Sequence[Graph], hostile: int) -> float:
    """Return the share of honest devices that have more hostile neighbours than ``rule`` bears,
    expected over all placements of ``hostile`` of the N devices of these ``graphs``, each as likely
    as the others.

    Of the N − 1 others of an honest device ``hostile`` are hostile, and so are K of its d
    neighbours, where K is hypergeometric; its rule bears :meth:`Aggregator.bears` of d + 1 rows.
    The share is the mean of P(K > bears) over the devices of all graphs.
    """
    degree_M = np.concatenate([graph.degree_in for graph in graphs])
    bears_M = np.array([rule.bears(int(degree) + 1) for degree in degree_M])
    return float(hypergeom.sf(bears_M, graphs[0].n - 1, hostile, degree_M).mean())
