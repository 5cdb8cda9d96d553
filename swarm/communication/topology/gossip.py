"""Topologies with new random partners in every round: random matchings, and the two variants of
epidemic learning.

Each round's graph is a function of (seed, device, round), so rounds can be asked for in any order.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys, shuffled
from swarm.communication.topology.base import Topology, check_choice, check_devices, check_links
from swarm.communication.topology.graph import Graph, Ints

Variant = Literal["oracle", "local"]


class RandomMatching(Topology):
    """A random matching: in every round devices pair up at random, and each pair averages with
    weights ½; if n is odd, a random device has no partner.

    This is the gossip of Boyd, Ghosh, Prabhakar & Shah, *Randomized gossip algorithms*, IEEE Trans.
    Inf. Theory 2006, with n/2 pairs at a time. W is a projection, so E[WᵀW] = E[W], and the squared
    distance to the mean shrinks in expectation by

        E‖Wx − x̄‖² = ½ (1 − 1/(n−1)) ‖x − x̄‖²   for even n,        ½ ‖x − x̄‖²   for odd n.
    """

    period = None

    def __init__(self, devices: int, seed: int) -> None:
        check_devices(devices)
        self.devices = devices
        self.keys = Keys(seed, "topology/matching")

    def graph(self, phase: int) -> Graph:
        order_N = _random_order(self.keys, self.devices, phase)
        return Graph.from_edges(self.devices, order_N[: self.devices // 2 * 2].reshape(-1, 2))


class Epidemic(Topology):
    """Epidemic learning: in every round each device sends to s = ``fanout`` random others, and
    averages its own row with all that it received. Graphs are directed.

    De Vos et al., *Epidemic Learning: Boosting Decentralized Learning with Randomized
    Communication*, NeurIPS 2023 (arXiv 2310.01972). Weights should be uniform, as with
    ``mixing=auto``. There are two variants:

    - ``local`` (EL-Local): each device draws its s receivers by itself, so that some devices
      receive from many others and some from none. Only the rows of W sum to one, and the mean over
      devices changes a little.
    - ``oracle`` (EL-Oracle): each device also receives from exactly s others. W is doubly
      stochastic, and the mean stays the same. The graph is a circulant of s random hops over
      randomly numbered devices: every set of s senders is equally likely for a device.

    The expected factor on the squared distance to the initial mean a round is

        oracle: (1/(s+1)) (1 − s/(n−1))        local: (1/s) (1 − (1 − s/(n−1))ⁿ) − 1/(n−1)

    Raises ``ConfigError`` unless 1 ≤ ``fanout`` < devices; for a single device ``fanout`` may be
    any number ≥ 1.
    """

    period = None

    def __init__(
        self, devices: int, seed: int, fanout: int = 4, variant: Variant = "oracle"
    ) -> None:
        check_devices(devices)
        check_choice("variant", variant, get_args(Variant))
        if fanout < 1 or (devices > 1 and fanout >= devices):
            raise ConfigError(
                "fanout", fanout, f"must lie between 1 and devices - 1 = {devices - 1}"
            )
        check_links("fanout", fanout, devices * fanout)
        self.devices, self.fanout, self.variant = devices, fanout, variant
        self.keys = Keys(seed, "topology/epidemic")

    def graph(self, phase: int) -> Graph:
        n, id_N = self.devices, np.arange(self.devices)
        if n == 1:
            return Graph.from_edges(1, [], directed=True)
        if self.variant == "local":
            other_NS = shuffled(np.arange(self.fanout), n - 1, self.keys, id_N[:, None], phase)
            src_NS, dst_NS = (
                np.broadcast_to(id_N[:, None], other_NS.shape),
                other_NS + (other_NS >= id_N[:, None]),
            )
        else:
            hop_S = (
                1
                + _random_order(Keys(self.keys.seed, "topology/epidemic/hops"), n - 1, phase)[
                    : self.fanout
                ]
            )
            order_N = _random_order(self.keys, n, phase)
            src_NS = np.broadcast_to(order_N[:, None], (n, self.fanout))
            dst_NS = order_N[(id_N[:, None] + hop_S) % n]
        return Graph.from_edges(
            n, np.stack([src_NS.ravel(), dst_NS.ravel()], axis=1), directed=True
        )


def _random_order(keys: Keys, count: int, round: int) -> Ints:
    """A uniformly random permutation ``[count]``: the positions sorted by 64 random bits for each
    (position, round).
    """
    high_N, low_N = keys.words(np.arange(count), round, 2).astype(np.uint64).T
    return np.argsort(high_N << np.uint64(32) | low_N, kind="stable")
