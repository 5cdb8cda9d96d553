"""The ``learn`` phase: the active devices predict their next samples and take local steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.common.gradient_correction import GradientCorrection
from swarm.communication.protocol.base import Protocol, RoundInfo, Rows
from swarm.communication.returned import start_of
from swarm.learning.kernels.kernel import Scale
from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import LocalSteps
from swarm.learning.privacy.release import released
from swarm.learning.update.policy import BatchPlan, batch_plans_of
from swarm.simulation.phases.base import Bools, Ints, Phase, TrainResult
from swarm.simulation.phases.transport import Arrived, NoTransport, Transport

if TYPE_CHECKING:
    from swarm.simulation.shard import Shard


@dataclass(frozen=True)
class _Start:
    """What devices send of the rows that the local steps of a phase start from, and the correction
    of their gradients."""

    sent_nM: Tensor
    correction: GradientCorrection | None


def learning_rate(shard: Shard, round: int) -> Scale:
    """The learning rate of ``round``: one for all devices, or ``[n, 1, 1]`` for each of a shard."""
    e = shard.experiment
    rates_N = e.model.rates(round)
    if rates_N is None:
        return e.model.rate(round)
    own = torch.as_tensor(rates_N[shard.devices], device=e.device).to(e.dtype)
    return own[:, None, None]


def numbers_of(rows: Rows, device: torch.device) -> Tensor:
    """The numbers of some rows of a shard."""
    if isinstance(rows, slice):
        return torch.arange(rows.start, rows.stop, device=device)
    return rows


class Learn(Phase):
    """Every active device predicts its next samples, is scored on those it meets for the first
    time, and takes its local steps."""

    name = "learn"
    learns = True

    def transport(self, round: int) -> Transport:
        """:class:`NoTransport`, as nothing travels."""
        return NoTransport()

    def apply(self, shard: Shard, round: int, arrived: Arrived) -> TrainResult:
        """Train the active devices of a shard; the others keep their parameters."""
        e, protocol, n = shard.experiment, self.protocol, len(shard.devices)
        lr, active = e.model.rate(round), self.communication.active(round)
        active_n, share = self.communication.learning_n(shard.devices), 1.0
        if active is not None:
            here_n, share = active[shard.devices], float(active.mean())
            active_n = here_n if active_n is None else here_n & active_n
        taken_n, work_n = np.zeros(n, np.int64), np.zeros(n)
        loss, scored, score = found = shard.state.x.new_zeros(3, n)
        loader, start, rate = shard.batch_loader, None, learning_rate(shard, round)
        loader.begin(round)
        for plan in batch_plans_of(e.data.policy, round):
            steps_n = loader.steps(plan, active_n)
            taken_n = taken_n + steps_n * plan.learn
            work_n = work_n + steps_n * loader.work(plan) * self._times(shard, plan, round)
            shard.state.now = RoundInfo(round, lr, taken_n, share)
            # once a phase, however many plans it has, as a protocol may count its starts
            if start is None:
                rows = start_of(protocol, shard.state)
                start = _Start(rows, protocol.gradient_correction(shard.state))
            for some, scores in self._train(shard, plan, steps_n, rate, start):
                loss[some] = scores.loss_B
                if scores.scored_B is not None and scores.score_B is not None:
                    scored[some], score[some] = scores.scored_B, scores.score_B
            loader.end(plan, steps_n)
        self._release_noise(shard, round, active_n, taken_n, start)
        self._finish(shard, round)
        losses, scored_n, score_n = found.double().cpu().numpy()
        return TrainResult(losses, scored_n, score_n, taken_n, work_n, *shard.finite())

    def _released(self, shard: Shard, some: Rows, start_BM: Tensor, end_BM: Tensor) -> Tensor:
        """The parameters that devices send after their local steps: what they have learnt, which
        is clipped and noised where each device is protected as a whole."""
        e, now = shard.experiment, shard.state.now
        privacy = e.data.privacy
        if privacy.unit != "device":
            return end_BM
        device_B = shard.devices[some if isinstance(some, slice) else some.cpu().numpy()]
        share = e.noise_share(now.round)
        seed = e.settings.seed
        pairs = e.communication.pairs(now.round) if privacy.shares_noise else None

        def release(start_mc: Tensor, end_mc: Tensor, device_m: Ints) -> Tensor:
            return released(privacy, start_mc, end_mc, device_m, now.round, seed, share, pairs)

        cohorts = e.model.cohorts
        if cohorts is not None:  # of the numbers that each device has
            return cohorts.changed(release, device_B, start_BM, end_BM)
        return release(start_BM, end_BM, device_B)

    def _release_noise(
        self, shard: Shard, round: int, active_n: Bools | None, taken_n: Ints, start: _Start | None
    ) -> None:
        """Let the devices that take part without a step add their noise, where that protects
        others."""
        e, n = shard.experiment, len(taken_n)
        if not e.data.privacy.noise_without_learning or start is None:
            return
        idle_n = (taken_n == 0) & (np.ones(n, bool) if active_n is None else active_n)
        some = torch.as_tensor(np.flatnonzero(idle_n), device=shard.state.x.device)
        if len(some):
            begin_BM = start.sent_nM[some]
            noised_BM = self._released(shard, some, begin_BM, begin_BM)
            self.protocol.after_local_steps(shard.state, some, begin_BM, noised_BM)
            shard.require_state("after_local_steps")

    def _times(self, shard: Shard, plan: BatchPlan, round: int) -> float:
        """The computation of a step of ``plan``, in steps of the shared model alone."""
        e = shard.experiment
        return e.model.personal.work(round, e.settings.rounds) if plan.learn else 1.0

    def _in_place(self, shard: Shard, start: _Start) -> bool:
        """Whether the rows of the state may be changed while devices learn: they start from these
        rows, all of them are sent, and nothing asks afterwards where the steps started from."""
        e, x_nP = shard.experiment, shard.state.x
        return (
            e.model.personal.absent
            and type(self.protocol).after_local_steps is Protocol.after_local_steps
            and e.data.privacy.unit != "device"
            and not shard.local_nQ.shape[1]
            and start.sent_nM is x_nP
            and x_nP.is_contiguous()
        )

    def _train(
        self, shard: Shard, plan: BatchPlan, steps_n: Ints, rate: Scale, start: _Start
    ) -> Iterator[tuple[Rows, PredictionScores]]:
        """Predict or learn as ``plan`` asks, block by block; yields the rows and scores of
        each."""
        e, learner, protocol = shard.experiment, shard.experiment.learner, self.protocol
        for rows, batch in shard.batch_loader.batches(plan, steps_n):
            if not plan.learn:
                yield rows, learner.score_only(shard.whole(rows, start.sent_nM), batch)
                continue
            correction = None if start.correction is None else start.correction.of(rows)
            lr = rate if isinstance(rate, float) else rate[rows]
            if learner.in_place and self._in_place(shard, start):
                x_nP, at = shard.state.x, numbers_of(rows, shard.state.x.device)
                slots = shard.optimizer_slots
                yield rows, learner.train_(x_nP, slots, at, batch, lr, correction)
                continue
            slots = {name: values[rows] for name, values in shard.optimizer_slots.items()}
            kept = {name: values[rows] for name, values in shard.kept.items()}
            begin_BP = shard.whole(rows, start.sent_nM)
            now = (shard.state.now.round, e.settings.rounds)
            steps = LocalSteps(learner, batch, lr, slots, correction, begin_BP, *now)
            learnt, scores = e.model.personal.learn(steps, begin_BP, kept)
            some: Rows = rows
            # A compiled step computes inactive devices too, whose results are dropped.
            if isinstance(rows, slice) and not steps_n[rows].all():
                took = torch.as_tensor(np.flatnonzero(steps_n[rows]), device=learnt.device)
                some, learnt = rows.start + took, learnt[took]
            sent = self._released(shard, some, start.sent_nM[some], shard.keep(some, learnt))
            protocol.after_local_steps(shard.state, some, start.sent_nM[some], sent)
            shard.require_state("after_local_steps")
            if not isinstance(rows, slice):
                # slots of a slice of rows are views, which were changed in place
                for changed, all_rows in ((slots, shard.optimizer_slots), (kept, shard.kept)):
                    for name, values in changed.items():
                        all_rows[name][rows] = values
            yield rows, scores
