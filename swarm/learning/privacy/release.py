"""What a device lets out of a round: the clipped and noised change of its parameters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.rng import Keys, NormalRows
from swarm.learning.privacy.correlated import Correlated, Pairs
from swarm.learning.privacy.mechanism import Privacy


def released(
    privacy: Privacy,
    start_BM: Tensor,
    end_BM: Tensor,
    device_B: npt.NDArray[np.int64],
    round: int,
    seed: int,
    share: float = 1.0,
    pairs: Pairs | None = None,
) -> Tensor:
    """Return start + clip_C(end − start) + share · σC·z, whose noise z follows from the seed, the
    device and the round; with ``pairs`` of linked devices and :class:`Correlated` privacy, plus the
    noise that each device shares with its neighbours."""
    delta_BM = end_BM - start_BM
    if privacy.clip_norm is not None:
        norm_B1 = torch.linalg.vector_norm(delta_BM, dim=1, keepdim=True)
        delta_BM.mul_((privacy.clip_norm / norm_B1).clamp_max_(1.0))
    if privacy.noisy and privacy.clip_norm is not None:
        dtype = np.float64 if delta_BM.dtype == torch.float64 else np.float32
        std = share * privacy.noise_multiplier * privacy.clip_norm
        std_B = np.full(len(device_B), std)
        drawn_BM, round_B = np.zeros(delta_BM.shape, dtype), np.full(len(device_B), round)
        normal = NormalRows(Keys(seed, "privacy.device"), drawn_BM.shape[1], drawn_BM.dtype)
        for some, rows_rM in normal.rows(device_B, round_B, std_B):
            drawn_BM[some] = rows_rM
        if pairs is not None and isinstance(privacy, Correlated):
            pair_std = privacy.correlated_multiplier * privacy.clip_norm
            pairs.add_noise(drawn_BM, device_B, round, pair_std, seed)
        delta_BM.add_(torch.from_numpy(drawn_BM).to(delta_BM.device))
    return delta_BM.add_(start_BM)
