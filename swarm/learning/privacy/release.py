"""What a device lets out of a round: the clipped and noised change of its parameters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.rng import Keys, NormalRows
from swarm.learning.privacy.mechanism import Privacy


def released(
    privacy: Privacy,
    start_BM: Tensor,
    end_BM: Tensor,
    device_B: npt.NDArray[np.int64],
    round: int,
    seed: int,
    share: float = 1.0,
) -> Tensor:
    """Return start + clip_C(end − start) + share · σC·z, whose noise z follows from the seed, the
    device and the round."""
    delta_BM = end_BM - start_BM
    if privacy.clip_norm is not None:
        norm_B1 = torch.linalg.vector_norm(delta_BM, dim=1, keepdim=True)
        delta_BM.mul_((privacy.clip_norm / norm_B1).clamp_max_(1.0))
    if privacy.noise_multiplier and privacy.clip_norm is not None:
        dtype = np.float64 if delta_BM.dtype == torch.float64 else np.float32
        std = share * privacy.noise_multiplier * privacy.clip_norm
        std_B = np.full(len(device_B), std)
        drawn_BM, round_B = np.empty(delta_BM.shape, dtype), np.full(len(device_B), round)
        normal = NormalRows(Keys(seed, "privacy.device"), drawn_BM.shape[1], drawn_BM.dtype)
        for some, rows_rM in normal.rows(device_B, round_B, std_B):
            drawn_BM[some] = rows_rM
        delta_BM.add_(torch.from_numpy(drawn_BM).to(delta_BM.device))
    return delta_BM.add_(start_BM)
