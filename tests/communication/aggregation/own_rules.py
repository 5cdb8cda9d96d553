"""Rules and a transform of somebody's own, for test_rules_in_a_swarm.py."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from swarm.communication.aggregation.base import Aggregator, Heard
from swarm.communication.transform.base import MessageTransform, Sending


class WrittenOut(Aggregator):
    """Σ_j W_ij x_j, from what a rule is told."""

    def combine(self, heard: Heard) -> Tensor:
        assert math.isclose(heard.own_weight + float(heard.weight_K.sum()), 1.0, abs_tol=1e-12)
        assert len(heard.sender_K) == len(heard.age_K) == len(heard.rows_KM)
        assert (np.diff(heard.sender_K) > 0).all()
        return heard.own_weight * heard.own_M + heard.weight_K @ heard.rows_KM


class Shout(MessageTransform):
    """The first ``bad`` devices send enormous numbers."""

    def __init__(self, bad: int = 1) -> None:
        self.bad = bad

    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        found = rows_nM.clone()
        found[torch.as_tensor(sending.device_n < self.bad)] = 1e6
        return found


class Short(Aggregator):
    """Gives back too little."""

    def combine(self, heard: Heard) -> Tensor:
        return heard.own_M[:1]


class Narrow(Aggregator):
    """Gives back numbers of another kind."""

    def combine(self, heard: Heard) -> Tensor:
        return heard.own_M.float()
