"""Metrics of a user's own, one of each source, and some that break what a metric promises."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swarm.simulation.experiment import Experiment
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
from swarm.simulation.metrics.looking import BlockMetric, DeviceValues, LooksAtBlocks, SwarmMetric
from swarm.simulation.metrics.views import BlockView, SwarmView


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


class LinkGap(SwarmMetric):
    """How far the models at the two ends of a link are apart, and messages for each link."""

    name, label, uses = "link_gap", "distance over a link", ("topology",)

    def columns(self) -> tuple[Column, ...]:
        return Column("link_gap", "distance over a link"), Column(
            "link_messages", "messages a link"
        )

    def why_not_in(self, experiment: Experiment) -> str | None:
        linked = len(experiment.communication.graph(1).src_E)
        return None if linked else "needs a topology with links"

    def held_bytes(self, experiment: Experiment) -> int:
        return (
            experiment.settings.devices * experiment.model.layout.width * experiment.dtype.itemsize
        )

    def measured(self, view: SwarmView) -> dict[str, float]:
        graph = view.experiment.communication.graph(max(view.round, 1))
        gap_EP = view.x_NP[graph.src_E] - view.x_NP[graph.dst_E]
        sent = view.counters.sent_N.sum() / len(graph.src_E)
        return {"link_gap": gap_EP.norm(dim=1).mean(), "link_messages": sent}  # type: ignore[dict-item]


class OnItsOwn(BlockMetric):
    """A device's mean loss on the samples that it learns from, and the worst sample of all."""

    name, label, better = "on_its_own", "loss on own samples", "lower"

    def columns(self) -> tuple[Column, ...]:
        return (*super().columns(), Column("hardest", "hardest sample"))

    def width(self, experiment: Experiment) -> int:
        return int(experiment.data.split.sizes_N.max())

    def look(self, block: BlockView) -> Tensor:
        split = block.experiment.data.split
        loss_BT = block.losses([split.of(int(device)) for device in block.devices_B])
        found_BV = loss_BT.new_full((len(loss_BT), self.width(block.experiment)), torch.nan)
        found_BV[:, : loss_BT.shape[1]] = loss_BT
        return found_BV

    def values(self, found: DeviceValues) -> Floats:
        return np.asarray(np.nanmean(found.values_MV, axis=1))

    def together(self, found: DeviceValues) -> dict[str, float | None]:
        return {"hardest": float(np.nanmax(found.values_MV))}


class Voters(LooksAtBlocks, SwarmMetric):
    """The accuracy on some test samples of all devices, and of those that count, and on all test
    samples."""

    name, label = "voters", "voters"

    def columns(self) -> tuple[Column, ...]:
        keys = "voters_all", "voters_members", "voters_accuracy", "voters_norm"
        return tuple(Column(key, key) for key in keys)

    def width(self, experiment: Experiment) -> int:
        return 1

    def look(self, block: BlockView) -> Tensor:
        data = block.experiment.data.dataset
        block.x_BP.zero_()  # a copy
        (out_BCT,) = block.outputs(data.test[:40])
        right_BT = out_BCT.argmax(1) == torch.as_tensor(data.y[data.test[:40]])
        return right_BT.double().mean(1)

    def measured(self, view: SwarmView) -> dict[str, float | None]:
        members = np.flatnonzero(view.member_N)
        found = view.evaluate(view.experiment.data.dataset.test)
        mean_P = view.mean(view.member_N / view.member_N.sum())
        view.x_NP.zero_()  # a copy
        return {
            "voters_all": view.look(self).values_MV.mean(),
            "voters_members": view.look(self, members).values_MV.mean(),
            "voters_accuracy": (
                found.hits_MC.sum(1) / len(view.experiment.data.dataset.test)
            ).mean(),
            "voters_norm": float(mean_P.norm()),
        }


class Meddles(Norm):
    """It halves the parameters that it is shown."""

    def value(self, x_BP: Tensor, mean_P: Tensor) -> Tensor:
        return super().value(x_BP.mul_(0.5), mean_P)
