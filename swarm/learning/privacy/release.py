"""What a device lets out of a round: the clipped and noised change of its parameters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.learning.privacy.correlated import Pairs
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
    """Return start + clip_C(end − start) plus the noise of ``privacy``: see
    :meth:`Privacy.draw_noise`."""
    delta_BM = end_BM - start_BM
    if privacy.clip_norm is not None:
        norm_B1 = torch.linalg.vector_norm(delta_BM, dim=1, keepdim=True)
        delta_BM.mul_((privacy.clip_norm / norm_B1).clamp_max_(1.0))
    if privacy.noisy and privacy.clip_norm is not None:
        dtype = np.float64 if delta_BM.dtype == torch.float64 else np.float32
        drawn_BM = np.zeros(delta_BM.shape, dtype)
        privacy.draw_noise(drawn_BM, device_B, round, seed, share, pairs)
        delta_BM.add_(torch.from_numpy(drawn_BM).to(delta_BM.device))
    return delta_BM.add_(start_BM)
