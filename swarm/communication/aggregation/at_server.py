"""What a server makes of the rows of its devices by an aggregation rule."""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from torch import Tensor

from swarm.communication.aggregation.base import Aggregator, Draws, Heard, Ints
from swarm.communication.aggregation.robust import RobustRule


def combined(rule: Aggregator, rows_nM: Tensor, sender_n: Ints, draws: Draws) -> Tensor | None:
    """Return what a symmetric ``rule`` makes of the rows of n devices, ``[M]``; None if no row is
    finite.

    A server has no row of its own. So the first finite row stands for it, which to a symmetric rule
    is one as any other. If n is too small for f, it assumes as many hostile rows as the rule bears.
    """
    finite_n = torch.isfinite(rows_nM).all(1).cpu().numpy()
    if not finite_n.any():
        return None
    if isinstance(rule, RobustRule):
        rule = copy(rule)
        rule.unsafe = "warn"
    first = int(finite_n.argmax())
    other_K = np.delete(np.arange(len(rows_nM)), first)
    heard = Heard(
        rows_nM[first],
        1 / len(rows_nM),
        rows_nM[torch.as_tensor(other_K, device=rows_nM.device)],
        rows_nM.new_full((len(other_K),), 1 / len(rows_nM)),
        sender_n[other_K],
        np.zeros(len(other_K), np.int64),
        device=int(sender_n[first]),
        draws=draws,
    )
    return rule.combine(heard)
