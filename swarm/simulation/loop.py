"""The round loop: advance, measure, record. It knows no model and no engine, only their seams."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swarm.common.errors import DivergedError
from swarm.common.names import named
from swarm.simulation.checkpoint import Checkpoint
from swarm.simulation.cost import cost, rounded
from swarm.simulation.engine.base import Engine, RoundResult
from swarm.simulation.experiment import Experiment
from swarm.simulation.measure import SwarmEvaluator
from swarm.simulation.metrics.base import TrafficCounts

Ints = npt.NDArray[np.int64]
COUNTERS = {
    "seen": torch.float64,
    "score": torch.float64,
    "sent": torch.int64,
    "received": torch.int64,
    "lost": torch.int64,
    "late": torch.int64,
    "bits": torch.int64,
    "joules": torch.float64,
}
"""What is added up for each device over the rounds."""


@dataclass(frozen=True)
class MetricsRow:
    """One line of the records, and the evaluated devices' own results (columns of equal length), if
    it has them.
    """

    values: dict[str, Any]
    devices: dict[str, npt.NDArray[Any]] | None


class Simulation:
    """One arm, from where it stands to a given round.

    Use as a context manager: the engine is stopped on the way out.
    """

    def __init__(self, experiment: Experiment, engine: Engine) -> None:
        self.experiment, self.engine = experiment, engine
        n = experiment.settings.devices
        self.round = self.steps = 0
        self.totals = Counter[str](messages=0, bytes=0, lost=0, late=0)
        self.sent_N, self.received_N, self.lost_N, self.late_N, self.bits_N = (
            np.zeros(n, np.int64) for _ in range(5)
        )
        self.joules_N, self.virtual = np.zeros(n), 0.0
        self.seconds = self.learning_seconds = 0.0
        self.seen_N, self.score_N = np.zeros(n), np.zeros(n)
        self.work = self.faded_seen = self.faded_score = 0.0
        self.measure = SwarmEvaluator(experiment, engine)

    def __enter__(self) -> Simulation:
        try:
            self.engine.start(self.experiment)
        except BaseException:
            self.engine.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.engine.stop()

    def records(self, until: int) -> Iterator[MetricsRow]:
        """Run up to round ``until``.

        A fresh simulation starts with a record of round 0, before any learning.

        Raises :class:`DivergedError` in the round in which a device's parameters stop being finite
        or its loss exceeds :attr:`SwarmEvaluator.largest_loss`.
        """
        s = self.experiment.settings
        last = time.perf_counter()
        if self.round == 0:
            yield self._record(None, evaluated=True, last=last)
        while self.round < until:
            pauses = [every for every in (s.evaluate.every, s.checkpoint.every) if every]
            stop = min(until, *((self.round // every + 1) * every for every in pauses))
            last = time.perf_counter()
            for happened in self.engine.advance(stop):
                self.learning_seconds += time.perf_counter() - last
                good = happened.loss_N <= self.measure.largest_loss  # not of a loss that is NaN
                bad = ~(happened.finite_N & good)
                if bad.any():
                    device = int(bad.argmax())
                    raise DivergedError(
                        device, happened.round, named(self.experiment.names, device)
                    )
                self._count(happened)
                record = self._record(happened, evaluated=self._due(until), last=last)
                if self.round == until and record.devices is not None:
                    self._require_measure(record.devices)
                yield record
                last = time.perf_counter()

    def _require_measure(self, devices: dict[str, npt.NDArray[Any]]) -> None:
        """Raises :class:`DivergedError` if a device ends with a test loss beyond all measure: what
        its last steps did shows in no training loss."""
        bad = ~(devices["loss"] <= self.measure.largest_loss)
        if bad.any():
            raise DivergedError(int(devices["device"][bad.argmax()]), self.round)

    def _due(self, until: int) -> bool:
        return self.round == until or self.round % self.experiment.settings.evaluate.every == 0

    def _count(self, happened: RoundResult) -> None:
        self.round = happened.round
        for sent in happened.traffic:
            self.totals.update(
                messages=sent.messages, bytes=sent.bytes, lost=sent.lost, late=sent.late
            )
            self.sent_N += sent.sent_N
            self.received_N += sent.received_N
            self.lost_N += sent.lost_N
            self.late_N += sent.late_N
            self.bits_N += sent.sent_N * sent.bits
        n = self.experiment.settings.devices
        sent_N, received_N = (
            sum(
                (getattr(each, name) * each.bits // 8 for each in happened.traffic),
                np.zeros(n, np.int64),
            )
            for name in ("sent_N", "received_N")
        )
        spent = cost(self.experiment, self.round, happened.work_N, sent_N, received_N)
        if spent is None:
            self.virtual = self.round * self.experiment.settings.network.round_seconds
        else:
            self.virtual += spent.seconds
            self.joules_N += spent.joules_N
        self.steps += int(happened.steps_N.sum())
        self.work += float(happened.work_N.sum())
        self.seen_N += happened.scored_N
        self.score_N += happened.score_N
        fading = self.experiment.settings.evaluate.fading
        self.faded_seen = fading * self.faded_seen + float(happened.scored_N.sum())
        self.faded_score = fading * self.faded_score + float(happened.score_N.sum())

    def _record(self, happened: RoundResult | None, evaluated: bool, last: float) -> MetricsRow:
        s = self.experiment.settings
        values: dict[str, Any] = {
            "round": self.round,
            "virtual_s": self.virtual,
            "awake": s.devices if self.round == 0 else self._awake(self.round),
            **{f"{name}_total": count for name, count in self.totals.items()},
            "steps_total": self.steps,
            "flops_total": self.work * self.experiment.model.step_flops if self.work else 0.0,
        }
        if self.experiment.communication.fleet.hardware is not None:
            values["joules_total"] = rounded(float(self.joules_N.sum()))
        if happened is not None:
            seen = float(self.seen_N.sum())
            values |= {
                **self._messages(happened),
                **self._of_traffic(happened),
                "steps": int(happened.steps_N.sum()),
                "seen": int(happened.scored_N.sum()),
            }
            if self.experiment.communication.learns:
                name, new = (
                    "accuracy" if self.experiment.model.loss.classification else "mse",
                    float(happened.scored_N.sum()),
                )
                values |= {
                    "lr": self.experiment.model.rate(self.round),
                    "train_loss": float(happened.loss_N[happened.steps_N > 0].mean())
                    if happened.steps_N.any()
                    else None,
                    f"prequential_{name}": float(self.score_N.sum()) / seen if seen else None,
                    f"faded_{name}": self.faded_score / self.faded_seen
                    if self.faded_seen
                    else None,
                    f"stream_{name}": float(happened.score_N.sum()) / new if new else None,
                    **self.measure.concept(self.seen_N),
                }
        devices = None
        if evaluated:
            measured, devices = self.measure(self.round, self.seen_N)
            values |= measured
            if devices is not None:
                devices |= self._counted(devices["device"])
        now = time.perf_counter()
        self.seconds += now - last
        values["wall_s"] = self.seconds
        for name, each in happened.actor_seconds.items() if happened else ():
            values |= {
                f"wall_s_{name}_mean": float(each.mean()),
                f"wall_s_{name}_max": float(each.max()),
            }
        return MetricsRow(values, devices)

    def _awake(self, round: int) -> int:
        active = self.experiment.communication.active(round)
        return self.experiment.settings.devices if active is None else int(active.sum())

    def _messages(self, happened: RoundResult) -> dict[str, Any]:
        """What was sent this round; where messages take time, how many rounds those that arrive do
        on average.
        """
        names = ("messages", "bytes", "lost", "late")
        values: dict[str, Any] = {
            name: sum(getattr(sent, name) for sent in happened.traffic) for name in names
        }
        if self.experiment.communication.messages.depth:
            arriving = sum(int(sent.received_N.sum()) for sent in happened.traffic)
            values["staleness"] = (
                sum(sent.ticks for sent in happened.traffic) / arriving if arriving else None
            )
        return values

    def _of_traffic(self, happened: RoundResult) -> dict[str, float | None]:
        """The numbers of the metrics of messages."""
        chosen = self.experiment.metrics.traffic
        if not chosen:
            return {}
        nobody = np.zeros(self.experiment.settings.devices, np.int64)
        round = TrafficCounts(
            sum((sent.sent_N for sent in happened.traffic), nobody),
            sum((sent.received_N for sent in happened.traffic), nobody),
            sum((sent.lost_N for sent in happened.traffic), nobody),
            sum((sent.late_N for sent in happened.traffic), nobody),
            sum((sent.sent_N * sent.bits for sent in happened.traffic), nobody) // 8,
        )
        so_far = self.sent_N, self.received_N, self.lost_N, self.late_N, self.bits_N // 8
        total = TrafficCounts(*(each.copy() for each in so_far))
        return {metric.name: metric.value(round, total) for metric in chosen}

    def _counted(self, devices_M: Ints) -> dict[str, npt.NDArray[Any]]:
        """What was added up for these devices since the start."""
        counted: dict[str, npt.NDArray[Any]] = {
            "sent": self.sent_N,
            "received": self.received_N,
            "lost": self.lost_N,
            "late": self.late_N,
            "bytes": self.bits_N // 8,
        }
        if self.experiment.communication.fleet.hardware is not None:
            counted["joules"] = self.joules_N
        if self.experiment.data.policy.streams and self.experiment.model.loss.classification:
            counted["prequential_accuracy"] = self.score_N / np.where(
                self.seen_N, self.seen_N, np.nan
            )
        return {name: rows[devices_M] for name, rows in counted.items()}

    # --- checkpoints ------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Everything that is needed to go on from here; to be written before the next round, which
        may change its arrays.
        """
        layout = [[s.name, list(s.shape)] for s in self.experiment.model.layout.slots]
        ties = [list(pair) for pair in self.experiment.model.layout.ties]
        own = {name: torch.as_tensor(getattr(self, f"{name}_N")) for name in COUNTERS}
        facts = {
            "layout": layout,
            "ties": ties,
            "buffers": self.experiment.model.constants.facts,
            "totals": dict(self.totals),
            "steps": self.steps,
            "work": self.work,
            "seconds": self.seconds,
            "virtual": self.virtual,
            "learning_seconds": self.learning_seconds,
            "faded": [self.faded_seen, self.faded_score],
        }
        return Checkpoint(self.round, {**self.engine.current(), **own}, facts)

    def expected_arrays(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, dtypes and shapes of a checkpoint of this simulation."""
        e = self.experiment
        n, rows = e.settings.devices, (e.dtype, (e.settings.devices, e.model.layout.width))
        own = {f"protocol.{k}": v for k, v in e.communication.slots.items()} | {
            f"wire.{k}": v for k, v in e.communication.in_flight.items()
        }
        return {
            **dict.fromkeys(["x", *(f"optimizer.{s}" for s in e.model.optimizer.slots)], rows),
            **{name: (e.dtype, (n, *shape)) for name, shape in own.items()},
            **{name: (torch.int64, (n, *shape)) for name, shape in e.data.progress.items()},
            **{name: (kind, (n,)) for name, kind in COUNTERS.items()},
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same plan."""
        arrays, facts = checkpoint.arrays, checkpoint.facts
        for name in COUNTERS:
            setattr(self, f"{name}_N", arrays[name].numpy().copy())
        self.round = checkpoint.round
        self.totals, self.steps = Counter(facts["totals"]), facts["steps"]
        self.virtual, self.work = facts["virtual"], facts["work"]
        self.faded_seen, self.faded_score = facts["faded"]
        self.seconds, self.learning_seconds = facts["seconds"], facts["learning_seconds"]
        self.engine.restore(arrays, checkpoint.round)
