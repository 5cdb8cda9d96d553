"""Metrics of a user's own that measure in the unit of the targets;
tests/simulation/metrics/test_target_units.py runs them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swarm.simulation.metrics.base import DeviceScores, Floats, OutputMetric, ScoreMetric
from swarm.simulation.metrics.looking import SwarmMetric
from swarm.simulation.metrics.views import SwarmView


class _Summed(OutputMetric):
    """A mean over the test samples of something of each of them."""

    better, target_kind = "lower", "numbers"

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        return torch.zeros(devices, dtype=torch.float64)

    def of(self, out_BCb: Tensor, y_Cb: Tensor) -> Tensor:
        raise NotImplementedError

    def add(self, state_B: Tensor, out_BCb: Tensor, y_bC: Tensor, at: int) -> None:
        state_B += self.of(out_BCb.double(), y_bC.T.double()).mean(1).sum(1)

    def value(self, state_B: Tensor, y_TC: Tensor) -> Tensor:
        return state_B / len(y_TC)


class Absolute(_Summed):
    """The mean absolute error in the targets' own units."""

    name, label = "absolute", "absolute error"

    def __init__(self, target_span: Floats) -> None:
        self.span_C1 = torch.as_tensor(target_span)[:, None]

    def of(self, out_BCb: Tensor, y_Cb: Tensor) -> Tensor:
        return (out_BCb - y_Cb).abs() * self.span_C1


class Relative(_Summed):
    """The mean absolute error as a share of the target."""

    name, label = "relative", "relative error"

    def __init__(self, target_span: Floats, target_shift: Floats, least: float = 1e-6) -> None:
        self.span_C1, self.shift_C1 = (
            torch.as_tensor(each)[:, None] for each in (target_span, target_shift)
        )
        self.least = least

    def of(self, out_BCb: Tensor, y_Cb: Tensor) -> Tensor:
        own_Cb = self.shift_C1 + self.span_C1 * y_Cb
        return (out_BCb - y_Cb).abs() * self.span_C1 / own_Cb.abs().clamp_min(self.least)


class Squared(ScoreMetric):
    """The mean squared error in the targets' own units, from what is counted anyway."""

    name, label, target_kind = "squared", "squared error", "numbers"

    def __init__(self, target_span: Floats) -> None:
        self.span_C = target_span

    def values(self, scores: DeviceScores) -> Floats:
        return (scores.hits_MC * self.span_C**2 / scores.counts_C).mean(1)


class Told(SwarmMetric):
    """What a metric is told of the unit."""

    name, label = "told", "span and shift"

    def __init__(self, target_span: Floats, target_shift: Floats) -> None:
        self.told = float(target_span.sum() + 1000 * target_shift.sum())
        target_span *= 0  # its own: nobody else's changes

    def measured(self, view: SwarmView) -> Any:
        return {"told": self.told}
