"""Metrics of a user's own, one of each source, and some that break what a metric promises."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swarm.simulation.metrics.base import (
    Column,
    DeviceScores,
    Floats,
    OutputMetric,
    RowMetric,
    ScoreMetric,
    StreamCounts,
    StreamMetric,
    TrafficCounts,
    TrafficMetric,
)


class TopTwo(OutputMetric):
    """How often the right class is among the two likeliest."""

    name, label, better, target_kind = "top_two", "top-2 accuracy", "higher", "classes"

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        return torch.zeros(devices, dtype=torch.float64)

    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        best_B2b = out_BCb.topk(2, dim=1).indices
        state_B += (best_B2b == y_b).any(1).sum(1)

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        return state_B / len(y_T)


class Norm(RowMetric):
    """The norm of a device's parameters."""

    name, label, unit = "norm", "norm of the parameters", "1"
    power: int

    def __init__(self, power: int = 2) -> None:
        self.power = power

    def value(self, x_BP: Tensor, mean_P: Tensor) -> Tensor:
        return x_BP.double().norm(p=self.power, dim=1)


class Imbalance(TrafficMetric):
    """How many times the mean the busiest device has sent since the start."""

    name, label, better, surfaces = "imbalance", "busiest sender", "lower", ("page", "sweep")

    def value(self, round: TrafficCounts, total: TrafficCounts) -> float | None:
        mean = total.bytes_N.mean()
        return float(total.bytes_N.max() / mean) if mean else None


class Slowest(StreamMetric):
    """The prequential accuracy of the device that predicts worst."""

    name, label, better, target_kind = "slowest", "slowest learner", "higher", "classes"
    kept = True

    def value(self, counts: StreamCounts) -> float | None:
        found_N = self.values(counts)
        return None if np.isnan(found_N).all() else float(np.nanmin(found_N))

    def values(self, counts: StreamCounts) -> Floats:
        return counts.scores_N / np.where(counts.samples_N, counts.samples_N, np.nan)


class FirstOfAll(TopTwo):
    """It wants to be the main score of its run."""

    name, label, main = "first_of_all", "top-2 score", "score"


class Error(TopTwo):
    """A main score of which less is better."""

    name, label, better, main = "error", "top-2 error", "lower", "score"

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        return 1 - state_B / len(y_T)


class Taken(ScoreMetric):
    """Its name is one of the records' own."""

    name, label = "awake", "taken"
    of_consensus = False

    def values(self, scores: DeviceScores) -> Floats:
        return scores.loss_M

    def columns(self) -> tuple[Column, ...]:
        return (Column("awake", "taken"),)


class Unsaid(ScoreMetric):
    """It puts a number into the record that is in none of its columns."""

    name, label = "unsaid", "unsaid"

    def values(self, scores: DeviceScores) -> Floats:
        return scores.loss_M

    def over_devices(self, values_M: Floats) -> dict[str, float]:
        return {"lost_total": 0.0}


class Misshapen(TopTwo):
    """It returns a value for everybody together."""

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        return state_B.sum()


class LooksAround(TopTwo):
    """A device's value depends on who is in its process."""

    made = 0

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        LooksAround.made += 1
        return state_B * 0 + LooksAround.made
