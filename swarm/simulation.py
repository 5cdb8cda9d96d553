"""The round loop: advance, measure, record. It knows no model and no engine, only their seams."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swarm import metrics
from swarm.checkpoint import Checkpoint
from swarm.cost import cost, rounded
from swarm.engine.base import Engine, Evaluation, RoundRecord, merge
from swarm.errors import DivergedError
from swarm.evaluation import Examiner
from swarm.experiment import Experiment
from swarm.rng import Keys

Ints = npt.NDArray[np.int64]
COUNTED = {
    "seen": torch.float64,
    "score": torch.float64,
    "sent": torch.int64,
    "received": torch.int64,
    "bits": torch.int64,
    "joules": torch.float64,
}
"""What is added up for each device over the rounds."""


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
        self.round = self.steps = 0
        self.totals = Counter[str](messages=0, bytes=0, lost=0, late=0)
        self.sent_N, self.received_N, self.bits_N = (np.zeros(n, np.int64) for _ in range(3))
        self.joules_N, self.virtual = np.zeros(n), 0.0
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
        for sent in happened.traffic:
            self.totals.update(messages=sent.messages, bytes=sent.bytes, lost=sent.lost, late=sent.late)
            self.sent_N += sent.sent_N
            self.received_N += sent.received_N
            self.bits_N += sent.sent_N * sent.bits
        n = self.experiment.settings.devices
        sent_N, received_N = (
            sum((getattr(each, name) * each.bits // 8 for each in happened.traffic), np.zeros(n, np.int64))
            for name in ("sent_N", "received_N")
        )
        spent = cost(self.experiment, self.round, happened.steps_N, sent_N, received_N)
        if spent is None:
            self.virtual = self.round * self.experiment.settings.network.tick
        else:
            self.virtual += spent.seconds
            self.joules_N += spent.joules_N
        self.steps += int(happened.steps_N.sum())
        self.seen_N += happened.seen_N
        self.score_N += happened.score_N

    def _record(self, happened: RoundRecord | None, evaluated: bool, last: float) -> Record:
        s = self.experiment.settings
        values: dict[str, Any] = {
            "round": self.round,
            "virtual_s": self.virtual,
            "awake": s.devices if self.round == 0 else self._awake(self.round),
            **{f"{name}_total": count for name, count in self.totals.items()},
            "steps_total": self.steps,
            "flops_total": self.steps * self.experiment.step_flops if self.steps else 0.0,
        }
        if self.experiment.fleet.hardware is not None:
            values["joules_total"] = rounded(float(self.joules_N.sum()))
        if happened is not None:
            seen = float(self.seen_N.sum())
            values |= {
                **self._messages(happened),
                "steps": int(happened.steps_N.sum()),
                "seen": int(happened.seen_N.sum()),
            }
            if "learn" in self.experiment.protocol.phases:
                name = "prequential_accuracy" if self.experiment.loss.classification else "prequential_mse"
                values |= {
                    "lr": self.experiment.rate(self.round),
                    "train_loss": float(happened.loss_N[happened.steps_N > 0].mean())
                    if happened.steps_N.any()
                    else None,
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

    def _awake(self, round: int) -> int:
        active = self.experiment.active(round)
        return self.experiment.settings.devices if active is None else int(active.sum())

    def _messages(self, happened: RoundRecord) -> dict[str, Any]:
        """What was sent this round; where messages take time, how many rounds those that arrive do on average."""
        names = ("messages", "bytes", "lost", "late")
        values: dict[str, Any] = {name: sum(getattr(sent, name) for sent in happened.traffic) for name in names}
        if self.experiment.exchanges.depth:
            arriving = sum(int(sent.received_N.sum()) for sent in happened.traffic)
            values["staleness"] = sum(sent.ticks for sent in happened.traffic) / arriving if arriving else None
        return values

    def _measure(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]] | None]:
        """Of the members only: whoever is gone for good, or yet to join, is left out."""
        e, evaluate = self.experiment, self.experiment.settings.evaluate
        member_N = self._members()
        mean_P = self.engine.total(member_N / member_N.sum())
        values: dict[str, Any] = {
            "consensus_distance": float(np.sqrt(self.engine.squared_distances(mean_P)[member_N].mean()))
        }
        if "learn" not in e.protocol.phases:
            values["mean_drift"] = float((mean_P.cpu() - self._first_mean).norm())
        if not evaluate.accuracy:
            return values, None
        test = e.plan.dataset.test
        found = self.engine.evaluate(test, self.evaluated_blocks)
        measured_M = member_N[found.devices_M]
        found = replace(
            found,
            devices_M=found.devices_M[measured_M],
            loss_M=found.loss_M[measured_M],
            hits_MC=found.hits_MC[measured_M],
        )
        scores = self.scores(found, test)
        for name, each in scores.items() if measured_M.any() else ():
            values |= metrics.spread(name, each)
        if found.votes_TC is not None and evaluate.ensemble:
            right = e.plan.dataset.y[test].astype(np.int64).reshape(-1)
            # votes come by block, with those of who is not a member among them
            values["ensemble_accuracy"] = metrics.majority(found.votes_TC, right) if measured_M.all() else None
        consensus = self.scores(self._examine_row(mean_P, test), test)
        values |= {f"consensus_{k}": float(v[0]) for k, v in consensus.items() if not k.startswith("own_")}
        counted: dict[str, npt.NDArray[Any]] = {
            "sent": self.sent_N,
            "received": self.received_N,
            "bytes": self.bits_N // 8,
        }
        if e.fleet.hardware is not None:
            counted["joules"] = self.joules_N
        return values, {"device": found.devices_M, **scores, **{k: v[found.devices_M] for k, v in counted.items()}}

    def _members(self) -> npt.NDArray[np.bool_]:
        member_N = self.experiment.network.members(max(self.round, 1))
        return np.ones(self.experiment.settings.devices, bool) if member_N is None else member_N

    @cached_property
    def _first_mean(self) -> torch.Tensor:
        """The mean of the first rows, added up as the engine adds: from where averaging may drift away."""
        blocks, parts = self.experiment.blocks, []
        with torch.inference_mode():
            for block in range(len(blocks)):
                rows = self.experiment.first_rows(blocks.devices_of(block)).double()
                parts.append({block: rows.sum(0) / blocks.devices})
        return merge(parts).cpu()

    def scores(self, found: Evaluation, samples: Ints) -> dict[str, npt.NDArray[np.float64]]:
        """Per evaluated device: accuracy (or R²), mean loss, and accuracy on its own label mix."""
        y = self.experiment.plan.dataset.y[samples]
        if not self.experiment.loss.classification:
            return {"r2": metrics.r2(found.hits_MC, y.reshape(len(y), -1).astype(np.float64)), "loss": found.loss_M}
        counts = np.bincount(y.astype(np.int64).reshape(-1), minlength=self.experiment.outputs).astype(np.float64)
        scores = {"accuracy": metrics.accuracy(found.hits_MC, counts), "loss": found.loss_M}
        if y.ndim > 1:
            scores["perplexity"] = np.exp(found.loss_M)
        if self.experiment.settings.evaluate.own and len(found.devices_M):
            mix = self.experiment.label_mix_NC[found.devices_M]
            scores["own_accuracy"] = metrics.own_accuracy(found.hits_MC, counts, mix)
        return scores

    def validate(self) -> tuple[float, float]:
        """Mean accuracy (or R²) and mean loss of the evaluated devices on the validation split."""
        samples = self.experiment.plan.dataset.validation
        found = self.engine.evaluate(samples, self.evaluated_blocks)
        kept = self._members()[found.devices_M]
        kept = kept if kept.any() else ~kept
        scores = {name: each[kept] for name, each in self.scores(found, samples).items()}
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
        own = {name: torch.as_tensor(getattr(self, f"{name}_N")) for name in COUNTED}
        facts = {
            "layout": layout,
            "totals": dict(self.totals),
            "steps": self.steps,
            "seconds": self.seconds,
            "virtual": self.virtual,
            "learning_seconds": self.learning_seconds,
        }
        return Checkpoint(self.round, {**self.engine.snapshot(), **own}, facts)

    def expected_arrays(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, dtypes and shapes of a checkpoint of this simulation."""
        e = self.experiment
        n, rows = e.settings.devices, (e.dtype, (e.settings.devices, e.layout.width))
        own = {f"protocol.{k}": v for k, v in e.slots.items()} | {f"wire.{k}": v for k, v in e.carried.items()}
        return {
            **dict.fromkeys(["x", *(f"optimizer.{s}" for s in e.optimizer.slots)], rows),
            **{name: (e.dtype, (n, *shape)) for name, shape in own.items()},
            "steps": (torch.int64, (n,)),
            **{name: (kind, (n,)) for name, kind in COUNTED.items()},
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same plan."""
        arrays, facts = dict(checkpoint.arrays), checkpoint.facts
        for name in COUNTED:
            setattr(self, f"{name}_N", arrays.pop(name).numpy().copy())
        self.round = checkpoint.round
        self.totals, self.steps = Counter(facts["totals"]), facts["steps"]
        self.virtual = facts["virtual"]
        self.seconds, self.learning_seconds = facts["seconds"], facts["learning_seconds"]
        self.engine.restore(arrays, checkpoint.round)
