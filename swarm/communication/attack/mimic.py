"""Mimicry: hostile devices that all send what one honest device sends.

Karimireddy, He & Jaggi, *Byzantine-robust learning on heterogeneous datasets via bucketing*, ICLR
2022 (arXiv 2006.09365).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.attack.base import Attacking, Bools, Floats, MessageAttack, Placement


class Mimic(MessageAttack):
    """v ← x_k for one honest device k, ``target``; without one it is drawn from the seed.

    No row is an outlier, so that no rule can tell which rows are hostile. But device k counts
    several times, which hurts where the devices' data differ. The paper chooses k by the direction
    in which the honest rows vary most; here it is the same device in every round.
    """

    colludes = True

    def __init__(
        self,
        target: int | None = None,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set the device that is imitated."""
        super().__init__(devices, placement)
        self.target = target

    def check(self, hostile_N: Bools) -> None:
        """Refuse a target that is no honest device."""
        honest = np.flatnonzero(~hostile_N).tolist()
        if self.target is not None and self.target not in honest:
            n = len(hostile_N)
            valid = f"must be null or an honest device among 0 to {n - 1}"
            raise ConfigError("attack.target", self.target, valid)

    def watched(self, honest_N: Bools, seed: int) -> Floats:
        """All the weight lies on the target."""
        chosen, shares_N = self.target, np.zeros(len(honest_N))
        if chosen is None:
            draw = Keys(seed, "attack.mimic").generator()
            chosen = int(draw.choice(np.flatnonzero(honest_N)))
        shares_N[chosen] = 1.0
        return shares_N

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        assert attacking.known is not None
        return attacking.known.mean_M.to(rows_nM).expand_as(rows_nM).clone()
