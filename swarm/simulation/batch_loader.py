"""Loads the mini-batches of a shard's devices: where each device is in its stream, what its replay
memory holds, and which samples come next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.rng import Keys, derive
from swarm.common.tensors import reading
from swarm.communication.protocol.base import Rows
from swarm.data.stream.stream import DrawnSamples
from swarm.learning.learner import Batch
from swarm.learning.update.policy import BatchPlan
from swarm.learning.update.replay import Memory
from swarm.learning.update.stream_position import StreamPosition
from swarm.simulation.goals.practising import Practising

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment

Ints = npt.NDArray[np.int64]
SAMPLES_AT_ONCE = 1 << 18  # stream positions drawn in one vectorised call
PLACES_AT_ONCE = 1 << 18  # places of replay memories that are filled in one vectorised call


class BatchLoader:
    """Loads mini-batches for ``devices``; ``rows`` are the rows of each of their blocks."""

    def __init__(self, experiment: Experiment, devices: Ints, rows: list[slice]) -> None:
        self.experiment = e = experiment
        self.devices, self._rows = devices, rows
        self.progress = StreamPosition.start(
            Memory.empty(len(devices), e.data.replay.size, e.data.dataset.known_labels()[1]),
            e.data.classes_practised,
        )
        self.practising = Practising.of(e.data, devices)
        self._before: tuple[int, StreamPosition] = (0, self.progress)
        data = e.data.dataset
        x, y = reading(data.x).to(e.device), reading(data.y).to(e.device)
        self.x_S = x.to(e.dtype) if x.is_floating_point() else x
        self.y_S = y if data.classes else y.to(e.dtype).reshape(len(y), -1)
        seen_S = data.observed_labels
        self.observed_S = None if seen_S is None else reading(seen_S).to(e.device)
        self._label_S = data.known_labels()[0]
        self._draws, self._keeps = (Keys(e.settings.seed, f"replay{k}") for k in ("", ".keep"))

    def samples(self, ids: Ints) -> tuple[Tensor, Tensor]:
        """Features and labels (or targets) of the samples with these ids. Ids from the size of the
        data set on are its samples with the trigger of a backdoor, and the label that it
        teaches."""
        size, poison = len(self.x_S), self.experiment.poison
        index = reading(ids).to(self.x_S.device)
        x, y = self.x_S[index % size], self.y_S[index % size]
        return (x, y) if poison is None else poison.with_trigger(x, y, index >= size)

    def begin(self, round: int) -> None:
        """Start a learning phase of ``round``; a second one in the same round starts from the same
        samples as the first.
        """
        if self._before[0] == round:
            self.progress = self._before[1]
        self._before = round, self.progress

    def steps(self, plan: BatchPlan, active_n: npt.NDArray[np.bool_] | None) -> Ints:
        """The number of mini-batches of ``plan`` that each device works through, ``[n]``: none if
        it is inactive or learns from an empty memory, and no more than its stream still has, its
        privacy budget allows, or the deadline of a round."""
        e, now = self.experiment, self.progress
        steps_n = (
            now.since_replay_n if plan.source == "kept" else e.data.local_steps_N[self.devices]
        )
        if plan.steps is not None:
            steps_n = np.full(len(steps_n), plan.steps)
        if e.deadline is not None:
            within_n = e.deadline.steps(self._before[0], self.devices, self.work(plan))
            steps_n = np.minimum(steps_n, within_n)
        if plan.source == "new":
            samples_n = self._before[0] * e.data.local_steps_N[self.devices] * e.data.stream.batch
            steps_n = np.minimum(
                steps_n, e.data.stream.there(self.devices, samples_n) - now.consumed_n
            )
        elif plan.source == "kept":
            steps_n = np.where(now.memory.kept_nM[:, 0] >= 0, steps_n, 0)
        if plan.learn and e.accountant is not None:
            round, spent_n = self._before[0], now.releases_n
            steps_n = e.accountant.allowed(self.devices, spent_n, steps_n, round)
        return steps_n if active_n is None else np.where(active_n, steps_n, 0)

    def work(self, plan: BatchPlan) -> float | npt.NDArray[np.float64]:
        """The computation of a mini-batch of ``plan``, in local steps on a plain mini-batch; for
        each device, ``[n]``, where their mini-batches have several sizes. Remembered samples count
        beside the new ones; predicting alone counts its share of a step's FLOP."""
        model = self.experiment.model
        if not plan.learn:
            return model.prediction_share_of(self.devices)
        return model.relative_work_of(self.devices) * self._samples_of(plan)

    def _samples_of(self, plan: BatchPlan) -> float | npt.NDArray[np.float64]:
        """The samples of a mini-batch of ``plan``, over those of a plain one."""
        if (relative_N := self.experiment.data.relative_batch_N) is not None:
            return relative_N[self.devices]
        return 1 + self._again(plan) / self.experiment.data.stream.batch

    def _again(self, plan: BatchPlan) -> int:
        """The number of remembered samples beside the new ones in a mini-batch."""
        e = self.experiment
        return (
            e.data.replay.drawn(e.data.stream.batch) if plan.source == "new" and plan.learn else 0
        )

    def batches(self, plan: BatchPlan, steps_n: Ints) -> Iterator[tuple[Rows, Batch]]:
        """The rows of the devices that take steps, block by block, each with its next samples.

        Samples of many blocks are drawn in one call, as drawn integers do not depend on which
        blocks are drawn together. The batches have the shape that their own block gives them, as
        rounding depends on shapes; where devices have batches of their own size, each block is
        drawn alone, so that one large batch makes those of its own block larger only.
        """
        e = self.experiment
        together = max(
            1, SAMPLES_AT_ONCE // (e.blocks.size * max(1, int(steps_n.max())) * e.data.stream.batch)
        )
        if e.data.stream.alone:
            together = 1
        for i in range(0, len(self._rows), together):
            some = self._rows[i : i + together]
            if steps_n[some[0].start : some[-1].stop].any():
                yield from self._batches_of(some, plan, steps_n)

    def _batches_of(
        self, some: list[slice], plan: BatchPlan, steps_n: Ints
    ) -> Iterator[tuple[Rows, Batch]]:
        """The batches of some blocks, whose samples are drawn together."""
        e, device = self.experiment, self.experiment.device
        group = slice(some[0].start, some[-1].stop)
        # A compiled step needs one shape, so all blocks take equally many steps, some masked.
        compiled = e.settings.compute.compile
        longest = int((self.steps(plan, None) if compiled else steps_n[group]).max())
        # Devices without steps are left out of the arithmetic, unless the step is compiled.
        taking = (
            np.arange(group.start, group.stop)
            if compiled
            else group.start + np.flatnonzero(steps_n[group])
        )
        draw = self._draw(plan, taking, longest)
        sample = torch.as_tensor(draw.sample_BKb, device=device)
        poison = e.poison
        changed = poison.chosen(self.devices[taking], draw.sample_BKb) if poison else None
        target, truth = self._targets(sample, plan, changed)
        done = torch.as_tensor(self.progress.steps_n[taking], device=device)
        fresh_n = np.asarray(draw.first_BKb.reshape(len(sample), -1).any(1))
        ends = np.searchsorted(taking, [rows.stop for rows in some]).tolist()
        weight = self._weight(taking, target.shape[-1])
        for rows, begin, end in zip(some, [0, *ends], ends, strict=False):
            each, part = steps_n[taking[begin:end]], slice(begin, end)
            if not each.any():
                continue
            chosen: Rows = rows
            if end - begin < rows.stop - rows.start:
                chosen = torch.as_tensor(taking[part], device=device)
            k = longest if compiled else int(each.max())
            first, active = None, None
            if fresh_n[part].any():
                first = torch.as_tensor(draw.first_BKb[part, :k], device=device)
            if each.min() < k:
                active = torch.as_tensor(np.arange(k) < each[:, None], device=device)
            true = None if truth is None else truth[part, :k]
            x = self._features(
                sample[part, :k], plan, taking[part], None if changed is None else changed[part, :k]
            )
            noise = self._noise(rows.start)
            own = None if weight is None else weight[part]
            there, ids = self._there(draw, taking, part, k)
            yield (
                chosen,
                Batch(x, target[part, :k], first, active, done[part], true, noise, own, there, ids),
            )

    def _features(
        self, sample_BKb: Tensor, plan: BatchPlan, at: Ints, changed_BKb: Tensor | None
    ) -> Tensor:
        """The features that the devices in the places ``at`` see; ``changed_BKb`` are those that
        hostile devices change."""
        e, x = self.experiment, _gather(self.x_S, sample_BKb)
        if plan.learn:
            x = e.data.augment(x, self.devices[at], self.progress.steps_n[at])
        if e.poison is not None and changed_BKb is not None:
            x = e.poison.features(x, changed_BKb)
        return x

    def _there(
        self, draw: DrawnSamples, taking: Ints, part: slice, k: int
    ) -> tuple[Tensor | None, Ints | None]:
        """Which places of the first ``k`` mini-batches have a sample; None where every place has
        one. And whose mini-batches they are, where the learner asks for that."""
        e = self.experiment
        if draw.there_BKb is None:
            return None, self.devices[taking[part]] if e.learner.by_device else None
        there = torch.as_tensor(draw.there_BKb[part, :k], device=e.device).to(e.dtype)
        return there, self.devices[taking[part]]

    def _weight(self, taking: Ints, answers: int) -> Tensor | None:
        """How much each of the ``answers`` of a mini-batch counts, for the devices ``taking``."""
        e = self.experiment
        found = e.data.stream.weight(self.devices[taking])
        if found is None:
            return None
        if e.data.stream.random:
            return torch.as_tensor(found, device=e.device).to(e.dtype)
        each = answers // found.shape[1]  # labels of a sample
        return torch.as_tensor(np.repeat(found / each, each, 1), device=e.device).to(e.dtype)

    def _noise(self, first: int) -> int:
        """The seed of the noise that the module draws in the next steps of the block whose first
        row is ``first``; 0 if it draws none."""
        e, taken = self.experiment, int(self.progress.steps_n[first])
        if not e.learner.noisy:
            return 0
        return derive(e.settings.seed, "noise", int(self.devices[first]), self._before[0], taken)

    def end(self, plan: BatchPlan, steps_n: Ints) -> None:
        """Finish a plan of which each device did ``steps_n`` mini-batches: count them, and offer
        new samples to the replay memories."""
        e, now = self.experiment, self.progress
        consumed_n, since_replay_n, memory = now.consumed_n, now.since_replay_n, now.memory
        if plan.source == "kept":
            since_replay_n = np.where(steps_n > 0, 0, since_replay_n)
        elif plan.source == "new":
            if e.data.replay.size and steps_n.any():
                memory = self._remembering(steps_n)
            consumed_n, since_replay_n = consumed_n + steps_n, since_replay_n + steps_n
        releases_n = now.releases_n
        if plan.learn and e.accountant is not None:
            round = self._before[0]
            releases_n = e.accountant.after(self.devices, releases_n, steps_n, round)
        taken_n, practised_nC = now.steps_n + steps_n * plan.learn, now.practised_nC
        if self.practising is not None:
            practised_nC = self.practising.after(now, steps_n)
        met = consumed_n, since_replay_n, releases_n, memory, practised_nC
        self.progress = StreamPosition(taken_n, *met)

    def _draw(self, plan: BatchPlan, taking: Ints, count: int) -> DrawnSamples:
        """The samples of the next ``count`` mini-batches of the devices ``taking``."""
        e, now, devices = self.experiment, self.progress, self.devices[taking]
        size = e.data.stream.batch
        if plan.source == "all" and self.practising is not None:
            return self.practising.draw(taking, now, count)
        if plan.source == "all":
            return e.data.stream.draw(devices, now.steps_n[taking], count)
        if plan.source == "kept":
            drawn = now.memory.drawn(
                taking, self._draws.uniform(devices, now.steps_n[taking], count * size)
            )
            sample = drawn.reshape(len(taking), count, size)
            return DrawnSamples(sample, np.zeros(sample.shape, bool))
        new = e.data.stream.draw(devices, now.consumed_n[taking], count)
        again = self._again(plan)
        if not again:
            return new
        drawn = now.memory.drawn(
            taking, self._draws.uniform(devices, now.steps_n[taking], count * again)
        )
        old = drawn.reshape(len(taking), count, again)
        # New samples stand in for remembered ones as long as a memory is empty.
        stand_in = np.resize(np.arange(size), again)
        old = np.where(old < 0, new.sample_BKb[:, :, stand_in], old)
        nowhere = np.zeros(old.shape, bool)
        return DrawnSamples(
            np.concatenate([new.sample_BKb, old], 2), np.concatenate([new.first_BKb, nowhere], 2)
        )

    def _targets(
        self, sample_BKb: Tensor, plan: BatchPlan, changed_BKb: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The targets to learn from, encoded for the loss, and the true targets where devices
        learn from observed labels instead (else None); ``changed_BKb`` are those of hostile
        devices.

        A sample without a label gets a target of zeros, whose gradient is zero, and the others of
        its mini-batch weigh more, so that the step is the mean over the samples with a label.
        """
        e, poison = self.experiment, self.experiment.poison
        y = _gather(self.y_S, sample_BKb)
        truth = self._encoded(y if poison is None else poison.labels(y, changed_BKb))
        if self.observed_S is None:
            return truth, None
        if not plan.learn:
            return truth, truth
        observed_BKb = _gather(self.observed_S, sample_BKb)
        if poison is not None:
            observed_BKb = poison.labels(observed_BKb, changed_BKb)
        known_BKb = observed_BKb >= 0
        # in the run's dtype, as dividing integers would give float32
        labelled = known_BKb.sum(2, keepdim=True).clamp_min(1).to(e.dtype)
        weight = known_BKb * (known_BKb.shape[2] / labelled)
        return self._encoded(observed_BKb.clamp_min(0)) * weight.unsqueeze(2), truth

    def _encoded(self, y: Tensor) -> Tensor:
        e = self.experiment
        y = y.flatten(2) if e.model.loss.classification and y.ndim > 3 else y  # [B, K, b · L]
        return e.model.loss.encode(y, e.data.outputs, e.dtype)

    def _remembering(self, steps_n: Ints) -> Memory:
        """The replay memories after the samples just met were offered to them, together with their
        known labels.

        Some devices are processed at a time, as no memory depends on another."""
        e, now = self.experiment, self.progress
        old, count = now.memory, int(steps_n.max())
        together = max(1, PLACES_AT_ONCE // (e.data.replay.size + 2 * count * e.data.stream.batch))
        new = Memory(
            *(np.empty_like(each) for each in (old.kept_nM, old.offered_nC, old.largest_nC))
        )
        for begin in range(0, len(steps_n), together):
            n = slice(begin, begin + together)
            sample = e.data.stream.draw(self.devices[n], now.consumed_n[n], count).sample_BKb
            there = (np.arange(count) < steps_n[n, None])[:, :, None]
            offered = np.where(there, sample, -1).reshape(len(sample), -1)
            part = Memory(old.kept_nM[n], old.offered_nC[n], old.largest_nC[n])
            part = e.data.replay.take(part, offered, self._label_S, self._keeps, self.devices[n])
            new.kept_nM[n], new.offered_nC[n] = part.kept_nM, part.offered_nC
            new.largest_nC[n] = part.largest_nC
        return new

    # --- checkpoints ------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Tensor]:
        """The fields of :class:`StreamPosition`, a row for each device."""
        found = self.progress.arrays()
        if self.experiment.accountant is None:
            del found["releases"]
        return {name: torch.as_tensor(rows) for name, rows in found.items()}

    def restore(self, rows: Mapping[str, Tensor]) -> None:
        """Go back to the position that :meth:`snapshot` returned."""
        found = {name: each.numpy() for name, each in rows.items()}
        self.progress = self.progress.restored(found)
        self._before = (0, self.progress)


def _gather(values_S: Tensor, sample_BKb: Tensor) -> Tensor:
    return values_S.index_select(0, sample_BKb.reshape(-1)).view(
        *sample_BKb.shape, *values_S.shape[1:]
    )
