"""The round loop: advance, measure, record. It knows no model and no engine, only their seams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swarm import metrics
from swarm.checkpoint import Checkpoint
from swarm.engine.base import Engine, Evaluation, RoundRecord
from swarm.errors import DivergedError
from swarm.evaluation import Examiner
from swarm.experiment import Experiment
from swarm.rng import Keys

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Record:
    """One line of the records, and the evaluated devices' own results (columns of equal length), if it has them."""

    values: dict[str, Any]
    devices: dict[str, npt.NDArray[Any]] | None


class Simulation:
    """One arm, from where it stands to a given round. Use as a context manager: the engine is stopped on the way out."""

    def __init__(self, experiment: Experiment, engine: Engine) -> None:
        self.experiment, self.engine = experiment, engine
        n = experiment.settings.devices
        self.round = self.messages = self.bytes = self.steps = 0
        self.seconds = self.learning_seconds = 0.0
        self.seen_N, self.score_N = np.zeros(n), np.zeros(n)

    def __enter__(self) -> Simulation:
        try:
            self.engine.start(self.experiment)
        except BaseException:
            self.engine.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.engine.stop()

    def records(self, until: int) -> Iterator[Record]:
        """Run up to round ``until``. A fresh simulation starts with a record of round 0, before any learning.

        Raises :class:`DivergedError` in the round in which a device's parameters or loss stop being finite.
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
                bad = ~(happened.finite_N & np.isfinite(happened.loss_N))
                if bad.any():
                    raise DivergedError(int(bad.argmax()), happened.round)
                self._count(happened)
                yield self._record(happened, evaluated=self._due(until), last=last)
                last = time.perf_counter()

    def _due(self, until: int) -> bool:
        return self.round == until or self.round % self.experiment.settings.evaluate.every == 0

    def _count(self, happened: RoundRecord) -> None:
        self.round = happened.round
        self.messages += happened.messages
        self.bytes += happened.bytes
        self.steps += int(happened.steps_N.sum())
        self.seen_N += happened.seen_N
        self.score_N += happened.score_N

    def _record(self, happened: RoundRecord | None, evaluated: bool, last: float) -> Record:
        s = self.experiment.settings
        values: dict[str, Any] = {
            "round": self.round,
            "virtual_s": self.round * s.network.tick,
            "awake": s.devices,
            "messages_total": self.messages,
            "bytes_total": self.bytes,
            "steps_total": self.steps,
        }
        if happened is not None:
            seen = float(self.seen_N.sum())
            values |= {
                "messages": happened.messages,
                "bytes": happened.bytes,
                "steps": int(happened.steps_N.sum()),
                "seen": int(happened.seen_N.sum()),
            }
            if "learn" in self.experiment.protocol.phases:
                name = "prequential_accuracy" if self.experiment.loss.classification else "prequential_mse"
                values |= {
                    "lr": self.experiment.rate(self.round),
                    "train_loss": float(happened.loss_N.mean()),
                    name: float(self.score_N.sum()) / seen if seen else None,
                }
        devices = None
        if evaluated:
            measured, devices = self._measure()
            values |= measured
        now = time.perf_counter()
        self.seconds += now - last
        values["wall_s"] = self.seconds
        for name, each in happened.actor_seconds.items() if happened else ():
            values |= {f"wall_s_{name}_mean": float(each.mean()), f"wall_s_{name}_max": float(each.max())}
        return Record(values, devices)

    def _measure(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]] | None]:
        n = self.experiment.settings.devices
        mean_P = self.engine.total(np.full(n, 1.0 / n))
        distance = float(np.sqrt(self.engine.squared_distances(mean_P).mean()))
        values: dict[str, Any] = {"consensus_distance": distance}
        if not self.experiment.settings.evaluate.accuracy:
            return values, None
        test = self.experiment.plan.dataset.test
        found = self.engine.evaluate(test, self.evaluated_blocks)
        scores = self.scores(found, test)
        for name, each in scores.items():
            values |= metrics.spread(name, each)
        if found.votes_TC is not None and self.experiment.settings.evaluate.ensemble:
            values["ensemble_accuracy"] = metrics.majority(
                found.votes_TC, self.experiment.plan.dataset.y[test].astype(np.int64)
            )
        consensus = self.scores(self._examine_row(mean_P, test), test)
        values |= {f"consensus_{k}": float(v[0]) for k, v in consensus.items() if not k.startswith("own_")}
        return values, {"device": found.devices_M, **scores}

    def scores(self, found: Evaluation, samples: Ints) -> dict[str, npt.NDArray[np.float64]]:
        """Per evaluated device: accuracy (or R²), mean loss, and accuracy on its own label mix."""
        y = self.experiment.plan.dataset.y[samples]
        if not self.experiment.loss.classification:
            return {"r2": metrics.r2(found.hits_MC, y.reshape(len(y), -1).astype(np.float64)), "loss": found.loss_M}
        counts = np.bincount(y.astype(np.int64), minlength=self.experiment.outputs).astype(np.float64)
        scores = {"accuracy": metrics.accuracy(found.hits_MC, counts), "loss": found.loss_M}
        if self.experiment.settings.evaluate.own and len(found.devices_M):
            mix = self.experiment.label_mix_NC[found.devices_M]
            scores["own_accuracy"] = metrics.own_accuracy(found.hits_MC, counts, mix)
        return scores

    def validate(self) -> tuple[float, float]:
        """Mean accuracy (or R²) and mean loss of the evaluated devices on the validation split."""
        samples = self.experiment.plan.dataset.validation
        scores = self.scores(self.engine.evaluate(samples, self.evaluated_blocks), samples)
        return float(next(iter(scores.values())).mean()), float(scores["loss"].mean())

    @cached_property
    def evaluated_blocks(self) -> Ints:
        """All blocks, or a seeded choice of whole blocks with about ``evaluate.sample`` devices."""
        blocks, sample = self.experiment.blocks, self.experiment.settings.evaluate.sample
        if sample is None or sample >= blocks.devices:
            return np.arange(len(blocks))
        count = min(len(blocks), -(-sample // blocks.size))
        chosen = Keys(self.experiment.settings.seed, "evaluate").generator().choice(len(blocks), count, replace=False)
        return np.sort(chosen)

    def _examine_row(self, row_P: torch.Tensor, samples: Ints) -> Evaluation:
        """One row of parameters (the consensus model) on the samples with these ids."""
        e = self.experiment
        data, device = e.plan.dataset, e.device
        x, y = torch.as_tensor(data.x[samples]), torch.as_tensor(data.y[samples])
        x = x.to(e.dtype) if x.is_floating_point() else x
        y = y if data.classes else y.to(e.dtype).reshape(len(y), -1)
        with torch.inference_mode():
            row = row_P.to(device, e.dtype).unsqueeze(0)
            found = Examiner(e.learner.kernel, e.loss, e.outputs).examine(row, x.to(device), y.to(device))
        loss, hits = (v.double().cpu().numpy() for v in (found.loss_B, found.hits_BC))
        return Evaluation(np.zeros(0, np.int64), loss, hits, None)

    # --- checkpoints ---------------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Everything that is needed to go on from here."""
        layout = [[s.name, list(s.shape)] for s in self.experiment.layout.slots]
        own = {"seen": torch.as_tensor(self.seen_N), "score": torch.as_tensor(self.score_N)}
        facts = {
            "layout": layout,
            "messages": self.messages,
            "bytes": self.bytes,
            "steps": self.steps,
            "seconds": self.seconds,
            "learning_seconds": self.learning_seconds,
        }
        return Checkpoint(self.round, {**self.engine.snapshot(), **own}, facts)

    def expected_arrays(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, dtypes and shapes of a checkpoint of this simulation."""
        e = self.experiment
        n, rows = e.settings.devices, (e.dtype, (e.settings.devices, e.layout.width))
        names = ["x", *(f"protocol.{s}" for s in e.protocol.slots), *(f"optimizer.{s}" for s in e.optimizer.slots)]
        return {
            **dict.fromkeys(names, rows),
            "steps": (torch.int64, (n,)),
            "seen": (torch.float64, (n,)),
            "score": (torch.float64, (n,)),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same plan."""
        arrays, facts = dict(checkpoint.arrays), checkpoint.facts
        self.seen_N, self.score_N = arrays.pop("seen").numpy().copy(), arrays.pop("score").numpy().copy()
        self.round = checkpoint.round
        self.messages, self.bytes, self.steps = facts["messages"], facts["bytes"], facts["steps"]
        self.seconds, self.learning_seconds = facts["seconds"], facts["learning_seconds"]
        self.engine.restore(arrays, checkpoint.round)
