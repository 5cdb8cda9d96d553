"""A little is enough: hostile devices that hide within the spread of the honest rows.

Baruch, Baruch & Goldberg, *A little is enough: circumventing defenses for distributed learning*,
NeurIPS 2019 (arXiv 1902.06156).
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import ndtri
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attacking, Bools, MessageAttack, Placement


class Alie(MessageAttack):
    """v ← μ − z · σ, where μ and σ are the mean and the standard deviation of the rows that honest
    devices send, in each number.

    Without ``z`` it is the largest z with which a majority can still be on the attackers' side:
    z = Φ⁻¹((n − f − s)/(n − f)) with s = ⌊n/2⌋ + 1 − f for f hostile ones among n devices.
    """

    colludes = spread = True

    def __init__(
        self,
        z: float | None = None,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set z; None: as n and f give it."""
        super().__init__(devices, placement)
        self.asked = self.z = z

    def check(self, hostile_N: Bools) -> None:
        """Find z; refuse to do so where hostile devices are the majority, and z has no end."""
        if self.asked is not None:
            return
        n, f = len(hostile_N), int(hostile_N.sum())
        supporters = n // 2 + 1 - f
        if supporters <= 0:
            valid = f"must be a number where {f} of {n} devices are hostile, which is a majority"
            raise ConfigError("attack.z", None, valid)
        self.z = float(ndtri((n - f - supporters) / (n - f)))
        if not np.isfinite(self.z):
            valid = (
                f"must be a number where {f} of {n} devices are hostile, as the formula has no end"
            )
            raise ConfigError("attack.z", None, valid)
        if self.z <= 0:
            text = (
                f"attack=alie: z is {self.z:.2g} where {f} of {n} devices are hostile, which is no"
            )
            warnings.warn(f"{text} attack on the mean; attack.z=1 would be one", stacklevel=2)

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        known = attacking.known
        assert known is not None
        assert known.std_M is not None
        row_M = known.mean_M - (self.z or 0.0) * known.std_M
        return row_M.to(rows_nM).expand_as(rows_nM).clone()
