"""Random sparsification: k numbers of a row are sent, at places drawn for every device and round.

Stich, Cordonnier, Jaggi, *Sparsified SGD with memory*, NeurIPS 2018 (arXiv 1809.07599):
E‖v − C(v)‖² = (1 − k/M) ‖v‖²; scaled by M/k it is unbiased, with E‖C(v) − v‖² = (M/k − 1) ‖v‖².
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rng import shuffled
from swarm.communication.compression.base import Draw
from swarm.communication.compression.sparse import Sparse

KEY_BITS = 64


class RandomK(Sparse):
    """C(v)_i = v_i at k random places (times M/k if ``unbiased``), 0 elsewhere.

    The places are the first k of a keyed permutation of the row, so that a receiver that knows the
    run's seed computes them from (device, round). A packet has this pair, 32 bits each, and k
    values, but no positions.

    Raises :class:`ConfigError` for a fraction outside (0, 1], and for ``unbiased`` with
    ``feedback``: the scaled operator is not a contraction, so that the accumulated error would
    grow.
    """

    def __init__(
        self,
        fraction: float = 0.1,
        unbiased: bool = False,
        feedback: bool = True,
        number_bits: int = 32,
    ) -> None:
        super().__init__(fraction, feedback, number_bits)
        if unbiased and feedback:
            raise ConfigError(
                "unbiased", True, "must be false with feedback=true, which needs a contraction"
            )
        self.unbiased = unbiased

    def places(self, width: int, draw: Draw) -> Tensor:
        """Return k different positions of each row, ``[n, k]``; a receiver computes them from the
        key of the packet.
        """
        k = self.kept(width)
        found = shuffled(np.arange(k), width, draw.keys, draw.device_n[:, None], draw.step)
        return torch.from_numpy(found)

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        width = v_nM.shape[1]
        places_nk = self.places(width, draw).to(v_nM.device)
        values_nk = v_nM.gather(1, places_nk)
        if self.unbiased:
            values_nk = values_nk * (width / self.kept(width))
        return torch.zeros_like(v_nM).scatter_(1, places_nk, values_nk)

    def bits(self, width: int) -> int:
        """Return the bits of k values and the key of their places."""
        return self.kept(width) * self.number_bits + KEY_BITS
