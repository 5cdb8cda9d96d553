"""The round loop: advance, measure, record. It knows no model and no engine, only their seams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swarm.common.arrays import fixed
from swarm.common.errors import ConfigError, DivergedError
from swarm.simulation.checkpoint import Checkpoint
from swarm.simulation.cost import cost, rounded, work_beside_learning
from swarm.simulation.counters import PER_DEVICE, Counters, MessageTotals, of_honest
from swarm.simulation.engine.base import Engine, RoundResult
from swarm.simulation.experiment import Experiment
from swarm.simulation.experiment.early_stopping import StoppingState
from swarm.simulation.measure import SwarmEvaluator
from swarm.simulation.metrics.base import StreamCounts
from swarm.simulation.metrics.record import VALIDATION_KEYS
from swarm.simulation.metrics.returned import compared_each, one_number

Ints = npt.NDArray[np.int64]


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
        self.round = self._before = 0
        self.counters = Counters.zero(experiment.settings.devices)
        self.releases_N = np.zeros(experiment.settings.devices, np.int64)
        self.seconds = self.learning_seconds = 0.0
        self.measure = SwarmEvaluator(experiment, engine)
        rule = experiment.stopping
        self.stopping = None if rule is None else StoppingState(rule)

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
        """Run up to round ``until``, or to the round in which the arm ends early
        (:attr:`stopped`).

        A fresh simulation starts with a record of round 0, before any learning.

        Raises :class:`DivergedError` in the round in which a device diverges, as
        :meth:`SwarmEvaluator.require_finite` has it.
        """
        s = self.experiment.settings
        last = time.perf_counter()
        if self.round == 0:
            yield self._record(None, evaluated=True, last=last)
        while self.round < until and not self.stopped:
            pauses = [every for every in (s.evaluate.every, s.checkpoint.every) if every]
            stop = min(until, *((self.round // every + 1) * every for every in pauses))
            last = time.perf_counter()
            for happened in self.engine.advance(stop):
                self.learning_seconds += time.perf_counter() - last
                self.measure.require_finite(happened)
                self._count(happened)
                record = self._record(happened, evaluated=self._due(until), last=last)
                if (self.round >= until or self.stopped) and record.devices is not None:
                    self._require_measure(record.devices)
                yield record
                last = time.perf_counter()

    def advance(self, until: int) -> Iterator[RoundResult]:
        """Run up to round ``until`` without records; yields what happened in each round."""
        for happened in self.engine.advance(until):
            self._count(happened)
            yield happened

    @property
    def stopped(self) -> bool:
        """Whether the arm has ended before its last round."""
        return self.engine.ended or (self.stopping is not None and self.stopping.stopped)

    def passed(self, every: int) -> bool:
        """Whether the latest result has reached, or passed, a multiple of ``every`` rounds."""
        return self.round // every > self._before // every

    @property
    def at_its_best(self) -> bool:
        """Whether the present round is the best one so far."""
        return self.stopping is not None and self.stopping.best_round == self.round

    def _require_measure(self, devices: dict[str, npt.NDArray[Any]]) -> None:
        """Raises :class:`DivergedError` if a device ends with a test loss beyond all measure: what
        its last steps did shows in no training loss."""
        bad = ~(devices["loss"] <= self.measure.largest_loss)
        if bad.any():
            raise DivergedError(int(devices["device"][bad.argmax()]), self.round)

    def _due(self, until: int) -> bool:
        every = self.experiment.settings.evaluate.every
        return self.round >= until or self.engine.ended or self.passed(every)

    def _count(self, happened: RoundResult) -> None:
        self._before, self.round = self.round, happened.round
        s = self.experiment.settings
        sent_N, received_N = (
            sum(
                (getattr(each, name) // 8 for each in happened.traffic),
                np.zeros(s.devices, np.int64),
            )
            for name in ("sent_bits_N", "received_bits_N")
        )
        happened = replace(
            happened, work_N=happened.work_N + work_beside_learning(self.experiment, self.round)
        )
        if (accountant := self.experiment.accountant) is not None:
            every_N, steps_N = np.arange(s.devices), happened.steps_N
            self.releases_N = accountant.after(every_N, self.releases_N, steps_N, self.round)
        spent = cost(self.experiment, self.round, happened.work_N, sent_N, received_N)
        self.counters = self.counters.after(
            happened,
            spent,
            s.evaluate.fading,
            s.network.round_seconds,
            self.experiment.communication.hostile_N,
        )

    def _record(self, happened: RoundResult | None, evaluated: bool, last: float) -> MetricsRow:
        values = self._counts()
        if happened is not None:
            values |= {**self._messages(happened), **self._of_traffic(happened)}
            values |= {"steps": int(happened.steps_N.sum()), "seen": int(happened.scored_N.sum())}
            if self.experiment.communication.learns:
                values |= self._learning(happened)
            values |= happened.measured
        devices = None
        if evaluated:
            measured, devices = self.measure(self.round, self.counters)
            values |= measured
            if devices is not None:
                devices |= self._counted(devices["device"], happened)
            if self.stopping is not None:
                values |= self._validated()
                self.stopping.take(values)
        now = time.perf_counter()
        self.seconds += now - last
        values["wall_s"] = self.seconds
        for name, each in happened.actor_seconds.items() if happened else ():
            values |= {
                f"wall_s_{name}_mean": float(each.mean()),
                f"wall_s_{name}_max": float(each.max()),
            }
        return MetricsRow(values, devices)

    def _validated(self) -> dict[str, Any]:
        """What devices do on the validation samples, where the best round is found by it."""
        if self.stopping is None or not self.stopping.rule.validates:
            return {}
        found = self.measure.validate(self.round, self.counters.scored_N)
        return {k: float(each.mean()) for k, each in zip(VALIDATION_KEYS, found, strict=True)}

    def _counts(self) -> dict[str, Any]:
        """Where the arm stands, and what has been counted since its start."""
        counters, totals = self.counters, self.counters.totals
        values: dict[str, Any] = {
            "round": self.round,
            "virtual_s": counters.virtual,
            "awake": self._awake(self.round),
            **totals.named("_total", self.experiment.communication.sums.secure),
            "steps_total": counters.steps,
            "flops_total": counters.work * self.experiment.model.step_flops
            if counters.work
            else 0.0,
        }
        if self.experiment.communication.fleet.hardware is not None:
            values["joules_total"] = rounded(float(counters.joules_N.sum()))
        return values | self._spent()

    def _spent(self) -> dict[str, Any]:
        """What has been spent of the honest devices' privacy, where that is counted."""
        accountant = self.experiment.accountant
        if accountant is None:
            return {}
        honest_N = self.experiment.communication.honest_N
        epsilon_n = accountant.epsilon_N(self.releases_N)[honest_N]
        found = {
            "epsilon_max": float(epsilon_n.max()),
            "epsilon_median": float(np.median(epsilon_n)),
            "noise_multiplier": accountant.privacy.noise_multiplier,
        }
        if accountant.privacy.epsilon is not None:
            poor_N = accountant.poor_N(self.releases_N, self.round + 1)
            found["budgets_spent"] = int(poor_N[honest_N].sum())
        return found

    def _learning(self, happened: RoundResult) -> dict[str, Any]:
        """What was learnt in a round, and how well the devices had predicted before it."""
        honest_N = self.experiment.communication.honest_N
        trained_N = happened.loss_N[honest_N & (happened.steps_N > 0)]
        counts = self._stream_counts(happened)
        return {
            "lr": self.experiment.model.rate(self.round),
            "train_loss": float(trained_N.mean()) if len(trained_N) else None,
            **{
                metric.name: one_number(metric, metric.value(counts), "value()")
                for metric in self.experiment.metrics.stream
            },
            **self.measure.concept(self.counters.scored_N),
        }

    def _stream_counts(self, happened: RoundResult | None) -> StreamCounts:
        """The samples met by honest devices so far and in this round; before the first round there
        are none."""
        counters, nothing_N = self.counters, np.zeros(self.experiment.settings.devices)
        hostile_N = self.experiment.communication.hostile_N
        pair = (nothing_N, nothing_N) if happened is None else (happened.scored_N, happened.score_N)
        counted = [*pair, counters.scored_N, counters.score_N]
        round_samples_N, round_scores_N, samples_N, scores_N = (
            fixed(of_honest(each_N, hostile_N)) for each_N in counted
        )
        return StreamCounts(
            round_samples_N,
            round_scores_N,
            samples_N,
            scores_N,
            counters.fading_scored,
            counters.fading_score,
        )

    def _awake(self, round: int) -> int:
        active = self.experiment.communication.active(round) if round else None
        return self.experiment.settings.devices if active is None else int(active.sum())

    def _messages(self, happened: RoundResult) -> dict[str, Any]:
        """What was sent this round; where messages take time, how many rounds those that arrive do
        on average.
        """
        sent = MessageTotals.of(happened.traffic)
        secure = self.experiment.communication.sums.secure
        values: dict[str, Any] = {**sent.named("", secure)}
        if self.experiment.communication.messages.depth:
            arriving = sum(int(each.received_N.sum()) for each in happened.traffic)
            ticks = sum(each.ticks for each in happened.traffic)
            values["staleness"] = ticks / arriving if arriving else None
        return values

    def _of_traffic(self, happened: RoundResult) -> dict[str, float | None]:
        """The numbers of the metrics of messages."""
        chosen = self.experiment.metrics.traffic
        if not chosen:
            return {}
        nothing = Counters.zero(self.experiment.settings.devices)
        round = nothing.after(happened, None, 0.0, 0.0).messages()
        total = self.counters.messages()
        return {m.name: one_number(m, m.value(round, total), "value()") for m in chosen}

    def _counted(
        self, devices_M: Ints, happened: RoundResult | None
    ) -> dict[str, npt.NDArray[Any]]:
        """What was added up for these devices since the start."""
        counted: dict[str, npt.NDArray[Any]] = {
            "sent": self.counters.sent_N,
            "received": self.counters.received_N,
            "lost": self.counters.lost_N,
            "late": self.counters.late_N,
            "bytes": self.counters.bits_N // 8,
        }
        if self.experiment.communication.fleet.hardware is not None:
            counted["joules"] = self.counters.joules_N
        if (accountant := self.experiment.accountant) is not None:
            counted["epsilon"] = accountant.epsilon_N(self.releases_N)
        if self.experiment.data.policy.streams:
            counts = self._stream_counts(happened)
            n, kept = len(self.releases_N), (m for m in self.experiment.metrics.stream if m.kept)
            counted |= {m.name: compared_each(m, m.values(counts), n) for m in kept}
        return {name: rows[devices_M] for name, rows in counted.items()}

    # --- checkpoints ------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Everything that is needed to go on from here; to be written before the next round, which
        may change its arrays.
        """
        model = self.experiment.model
        facts = {
            **model.facts,
            "buffers": model.constants.facts,
            **self.counters.facts(),
            "seconds": self.seconds,
            "learning_seconds": self.learning_seconds,
            **({} if self.stopping is None else {"early_stopping": self.stopping.facts()}),
        }
        arrays = {**self.engine.current(), **self.counters.arrays(), **model.arrays}
        return Checkpoint(self.round, arrays, facts)

    def expected_arrays(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, dtypes and shapes of a checkpoint of this simulation."""
        e = self.experiment
        n, rows = e.settings.devices, (e.dtype, (e.settings.devices, e.model.layout.width))
        own = {f"protocol.{k}": v for k, v in e.communication.slots.items()} | {
            f"wire.{k}": v for k, v in e.communication.in_flight.items()
        }
        own |= {f"personal.{k}": v for k, v in e.model.kept.items()}
        return {
            **dict.fromkeys(["x", *(f"optimizer.{s}" for s in e.model.optimizer.slots)], rows),
            **{name: (e.dtype, (n, *shape)) for name, shape in own.items()},
            **{name: (torch.int64, (n, *shape)) for name, shape in e.data.progress.items()},
            **{name: (kind, (n,)) for name, kind in PER_DEVICE.items()},
            **{name: (each.dtype, tuple(each.shape)) for name, each in e.model.arrays.items()},
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same plan."""
        arrays, facts = checkpoint.arrays, checkpoint.facts
        if facts.get("grid") != self.experiment.model.facts.get("grid"):
            start = self.experiment.settings.init
            valid = "is another start than the run's, from which the grid of its devices follows"
            raise ConfigError("init", start, valid)
        self.round = checkpoint.round
        self.counters = Counters.restored(arrays, facts)
        if self.experiment.accountant is not None:
            self.releases_N = arrays["releases"].numpy().copy()
        self.seconds, self.learning_seconds = facts["seconds"], facts["learning_seconds"]
        if self.stopping is not None and (kept := facts.get("early_stopping")) is not None:
            self.stopping.restore(kept)
        self.engine.restore(arrays, checkpoint.round)
