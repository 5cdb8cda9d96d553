"""How well the devices do: on the test set, on each concept of data that drift, and on average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from swarm.common.arrays import fixed
from swarm.common.errors import DivergedError
from swarm.common.names import named
from swarm.common.rng import Keys
from swarm.data.dataset import concept_exposure
from swarm.simulation.counters import Counters
from swarm.simulation.engine.base import Engine, Evaluation, RoundResult, merge
from swarm.simulation.experiment import Experiment
from swarm.simulation.metrics import formulas as metrics
from swarm.simulation.metrics.base import DeviceScores
from swarm.simulation.metrics.chosen import over_devices, seen_in_blocks, seen_of_swarm
from swarm.simulation.metrics.local import LocalScores
from swarm.simulation.metrics.returned import compared_each, one_number
from swarm.simulation.metrics.views import SwarmView

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Devices = dict[str, npt.NDArray[Any]]  # results of each evaluated device, columns of equal length

# times the loss of an untrained model: no sample is so far out, and no such model comes back
BEYOND = 1e9
LOOKED_AT = 256  # labels of training samples on which that loss is taken


class SwarmEvaluator:
    """Looks at a running engine, as often as it is called."""

    def __init__(self, experiment: Experiment, engine: Engine) -> None:
        self.experiment, self.engine = experiment, engine

    def __call__(self, round: int, counters: Counters) -> tuple[dict[str, Any], Devices | None]:
        """The values of a record after ``round``, when so much has been counted, and each
        device's own results: of honest members only, without those gone for good or yet to join."""
        e = self.experiment
        member_N = fixed(self.members(round))  # metrics see it, and it may be the run's own
        mean_P = self._mean(member_N / member_N.sum())
        values = self._of_rows(mean_P, member_N)
        if not e.communication.learns:
            values["mean_drift"] = float((mean_P.cpu() - self._first_mean).norm())
        view = SwarmView(e, self.engine, round, counters.read_only(), member_N, self.evaluated)
        values |= seen_of_swarm(view)
        if not e.settings.evaluate.accuracy:
            return values, None
        test, lived_NC = e.data.dataset.test, self._lived(counters.scored_N)
        found, scores, by_concept = self._examined(test, lived_NC, member_N)
        scores |= self._local(found.devices_M) | self._triggered(found.devices_M)
        together, own = seen_in_blocks(view)
        scores, values = scores | own, values | together
        measured = {metric.name: metric for metric in e.metrics.of_devices}
        for name, each in scores.items():
            values |= over_devices(measured[name], each) if name in measured else {}
            if e.model.cohorts is not None and name in measured:
                values |= e.model.cohorts.means_of(name, each, found.devices_M)
        values |= by_concept
        right = e.data.dataset.y[test].reshape(-1)
        for metric in e.metrics.votes:
            # votes come by block, with those of who is not a member among them
            votes = found.votes_TC
            value = None if votes is None else metric.value(votes, right.astype(np.int64))
            values[metric.name] = one_number(metric, value, "value()")
        mean_1C = None if lived_NC is None else lived_NC[member_N].mean(0, keepdims=True)
        consensus = self._weighed(
            lambda samples: self._examine_row(mean_P, samples), test, lambda _: mean_1C
        )[1]
        values |= {
            f"consensus_{k}": float(v[0])
            for k, v in consensus.items()
            if k in measured and measured[k].of_consensus
        }
        kept = {k: v for k, v in scores.items() if k not in measured or measured[k].kept}
        return values, {"device": found.devices_M, **kept}

    def _mean(self, shares_N: Floats) -> torch.Tensor:
        """The mean model ``[P]`` with these weights; of each number, over those who have it."""
        total_P, cohorts = self.engine.total(shares_N), self.experiment.model.cohorts
        return total_P if cohorts is None else cohorts.mean_of_holders(total_P, shares_N)

    def _of_rows(self, mean_P: torch.Tensor, member_N: Bools) -> dict[str, Any]:
        """The numbers of the metrics of parameters, over the members."""
        chosen, found = self.experiment.metrics.rows, dict[str, Any]()
        if chosen:
            for metric, each in zip(chosen, self.engine.row_values(mean_P).T, strict=True):
                found |= over_devices(metric, each[member_N])
        return found

    def concept(self, seen_N: Floats) -> dict[str, int]:
        """Which world most devices live in; nothing where nothing drifts."""
        lived_NC = self._lived(seen_N)
        honest_N = self.experiment.communication.honest_N
        return {} if lived_NC is None else {"concept": int(lived_NC[honest_N].mean(0).argmax())}

    def validate(
        self, round: int, seen_N: Floats, good_N: Bools | None = None
    ) -> tuple[Floats, Floats]:
        """Accuracy (or R²) and loss of each evaluated device on the validation split, ``[M]`` each;
        with ``good_N`` of these devices only."""
        kept_N, honest_N = self.members(round), self.experiment.communication.honest_N
        kept_N = kept_N if kept_N[self.evaluated].any() else honest_N & ~kept_N
        kept_N = kept_N if good_N is None else kept_N & good_N
        samples = self.experiment.data.dataset.validation
        _, scores, _ = self._examined(samples, self._lived(seen_N), kept_N)
        return next(iter(scores.values())), scores["loss"]

    # --- scores -----------------------------------------------------------------------------------

    def _examined(
        self, samples: Ints, lived_NC: Floats | None, member_N: Bools
    ) -> tuple[Evaluation, dict[str, Floats], dict[str, float]]:
        """The evaluated members on the samples with these ids: their scores, and their mean
        accuracy on each concept."""

        def evaluate(ids: Ints) -> Evaluation:
            found = self.engine.evaluate(ids, self.evaluated_blocks)
            honest_N = self.experiment.communication.honest_N
            return found.members(member_N[found.devices_M], honest_N[found.devices_M])

        return self._weighed(
            evaluate, samples, lambda found: None if lived_NC is None else lived_NC[found.devices_M]
        )

    def _weighed(
        self,
        evaluate: Callable[[Ints], Evaluation],
        samples: Ints,
        share: Callable[[Evaluation], Floats | None],
    ) -> tuple[Evaluation, dict[str, Floats], dict[str, float]]:
        """Scores on the samples; of data that drift, each device's on the concepts that it lives
        in, ``[M, C]``.
        """
        concept = self.experiment.data.dataset.concept
        if concept is None:
            found = evaluate(samples)
            return found, self.scores(found, samples), {}
        by_concept = [m.name for m in self.experiment.metrics.scores if m.by_concept]
        total: dict[str, Floats] = {}
        means: dict[str, float] = {}
        for c in range(int(concept.max()) + 1):
            own = samples[concept[samples] == c]
            found = evaluate(own)
            share_MC = share(found)
            assert share_MC is not None
            scores = self.scores(found, own, c)
            means |= {
                f"{k}_concept_{c}": float(v.mean())
                for k, v in scores.items()
                if k in by_concept and len(v)
            }
            for name, each in scores.items():
                total[name] = total.get(name, 0.0) + np.where(
                    share_MC[:, c] > 0, share_MC[:, c] * each, 0.0
                )
        return replace(found, votes_TC=None), total, means

    def scores(self, found: Evaluation, samples: Ints, concept: int = 0) -> dict[str, Floats]:
        """Per evaluated device: accuracy (or R²) and mean loss, by which rates are chosen and a
        divergence is noticed whatever is measured, and what the metrics say, under ``concept``."""
        e = self.experiment
        y = e.data.dataset.y[samples]
        if e.model.test_loss.classification:
            y_T, mix_MC = y.astype(np.int64).reshape(-1), None
            counts = np.bincount(y_T, minlength=e.data.outputs).astype(np.float64)
            if e.settings.evaluate.local and len(found.devices_M):
                mix_MC = e.data.label_mix_WNC[concept, found.devices_M]
            score = {"accuracy": metrics.accuracy(found.hits_MC, counts)}
            return {**score, "loss": found.loss_M, **self._chosen(found, y_T, counts, mix_MC)}
        y_TC = y.reshape(len(y), -1).astype(np.float64)
        score = {"r2": metrics.r2(found.hits_MC, y_TC)}
        counts = np.full(e.data.outputs, float(len(y)))
        return {**score, "loss": found.loss_M, **self._chosen(found, y_TC, counts, None)}

    def _chosen(
        self,
        found: Evaluation,
        y_T: npt.NDArray[np.generic],
        counts_C: Floats,
        mix_MC: Floats | None,
    ) -> dict[str, Floats]:
        """Each device's values of the metrics of outputs and of scores."""
        chosen = self.experiment.metrics
        size = self.experiment.data.text_bytes(counts_C)
        of_each = (found.devices_M, found.loss_M, found.hits_MC)
        scores = DeviceScores(*of_each, y_T, counts_C, mix_MC, size)
        ends = np.cumsum([m.numbers(self.experiment.data.outputs) for m in chosen.outputs])
        parts = np.split(found.values_MV, ends[:-1], 1)
        pairs = zip(chosen.outputs, parts, strict=False)  # without a metric there is one part
        many = len(found.loss_M)
        values = {m.name: compared_each(m, m.compared(v), many, "compared()") for m, v in pairs}
        return values | {m.name: compared_each(m, m.values(scores), many) for m in chosen.scores}

    def _local(self, devices_M: Ints) -> dict[str, Floats]:
        """The values that these devices have of the metrics of own held-out samples."""
        chosen, data = self.experiment.metrics.local, self.experiment.data
        if not chosen:
            return {}
        found = self.engine.evaluate(None, self.evaluated_blocks)
        found = found.members(np.isin(found.devices_M, devices_M))
        (samples_N, spread_N), own = data.local_test_NN, found.devices_M
        target = data.dataset.target
        span_C = np.ones(1) if target is None else target.span
        size_M = data.local_text_bytes_N[own]
        scores = LocalScores(
            own, samples_N[own], found.loss_M, found.hits_MC, spread_N[own], span_C, size_M
        )
        return {m.name: compared_each(m, m.values(scores), len(found.loss_M)) for m in chosen}

    def _triggered(self, devices_M: Ints) -> dict[str, Floats]:
        """The values that these devices have of the metrics of test samples with a trigger."""
        e, chosen = self.experiment, self.experiment.metrics.triggered
        if not chosen or e.poison is None or e.poison.triggered is None:
            return {}
        found = self.engine.evaluate(e.poison.triggered, self.evaluated_blocks)
        found = found.members(np.isin(found.devices_M, devices_M))
        hits_M, answers = found.hits_MC.sum(1), len(e.poison.triggered) * e.data.dataset.y[0].size
        return {
            m.name: compared_each(m, m.values(hits_M, answers), len(found.loss_M)) for m in chosen
        }

    def _lived(self, seen_N: Floats) -> Floats | None:
        """How much of what each device met in its last round belongs to each concept, ``[N,
        C]``.
        """
        e = self.experiment
        if e.data.dataset.concept is None:
            return None
        each = e.data.dataset.y[0].size if e.model.test_loss.classification else 1
        return concept_exposure(
            e.data.dataset.concept,
            e.data.split,
            (seen_N / each).astype(np.int64),
            e.data.local_steps_N * e.data.stream.batch,
        )

    def require_finite(self, happened: RoundResult) -> None:
        """Raises :class:`DivergedError` if a device has :meth:`diverged`."""
        bad_N = self.diverged(happened)
        if bad_N.any():
            device = int(bad_N.argmax())
            own = bool(happened.finite_N[device] and happened.loss_N[device] <= self.largest_loss)
            raise DivergedError(device, happened.round, named(self.experiment.names, device), own)

    def diverged(self, happened: RoundResult) -> Bools:
        """Which honest devices have parameters, or what they keep beside them, that are not finite,
        or a training loss beyond :attr:`largest_loss`, ``[N]``."""
        small_N = happened.loss_N <= self.largest_loss  # False if NaN
        good_N = happened.finite_N & happened.kept_finite_N & small_N
        return ~good_N & self.experiment.communication.honest_N

    @cached_property
    def largest_loss(self) -> float:
        """The training loss up to which a device has not diverged: ``BEYOND`` times that of the
        first model, or of outputs of zero if that is larger (ln C for C classes, the mean square of
        numeric targets).

        It follows from the plan alone, so that an arm ends in the same round on every engine and
        after every resume.
        """
        e = self.experiment
        if not e.communication.learns:
            return np.inf
        train = e.data.dataset.train
        each = e.data.dataset.y[0].size if e.model.loss.classification else 1
        samples = train[:: -(-len(train) * each // LOOKED_AT)]
        x, y = self._samples(samples)
        with torch.inference_mode():
            row = e.model.lead.first_rows(np.zeros(1, np.int64))
            first = e.evaluator().examine(row, x, y).loss_B.squeeze()
            labels = y.flatten() if e.model.test_loss.classification else y
            target = e.model.test_loss.encode(labels, e.data.outputs, e.dtype)
            nothing = e.model.test_loss.value(torch.zeros_like(target), target).mean()
        largest = BEYOND * float(torch.fmax(first.double(), nothing.double()))
        return largest if 0 < largest < np.inf else np.inf

    # --- who --------------------------------------------------------------------------------------

    def members(self, round: int) -> Bools:
        """Which devices count after ``round``."""
        c = self.experiment.communication
        member_N = c.network.members(max(round, 1))
        if member_N is None or c.hostile_N is None:
            return c.honest_N if member_N is None else member_N
        counted_N = member_N & c.honest_N
        return counted_N if counted_N.any() else c.honest_N

    @cached_property
    def evaluated_blocks(self) -> Ints:
        """All blocks, or a seeded choice of blocks with about ``evaluate.devices`` devices."""
        blocks, sample = self.experiment.blocks, self.experiment.settings.evaluate.devices
        if sample is None or sample >= blocks.devices:
            return np.arange(len(blocks))
        honest_N = self.experiment.communication.honest_N
        looked_at = [b for b in range(len(blocks)) if honest_N[blocks.devices_of(b)].any()]
        count = min(len(looked_at), -(-sample // blocks.size))
        draw = Keys(self.experiment.settings.seed, "evaluate").generator()
        return np.sort(draw.choice(looked_at, count, replace=False))

    @property
    def evaluated(self) -> Ints:
        """The ids of the devices of these blocks."""
        blocks = self.experiment.blocks
        return fixed(np.concatenate([blocks.devices_of(int(b)) for b in self.evaluated_blocks]))

    @cached_property
    def _first_mean(self) -> torch.Tensor:
        """The mean of the first rows, added up as the engine adds: from where averaging may drift
        away.
        """
        blocks, parts = self.experiment.blocks, []
        with torch.inference_mode():
            for block in range(len(blocks)):
                rows = self.experiment.model.first_rows(blocks.devices_of(block)).double()
                parts.append({block: rows.sum(0) / blocks.devices})
        total_P, cohorts = merge(parts).cpu(), self.experiment.model.cohorts
        if cohorts is None:
            return total_P
        return cohorts.mean_of_holders(total_P, np.full(blocks.devices, 1 / blocks.devices))

    def _examine_row(self, row_P: torch.Tensor, samples: Ints) -> Evaluation:
        """One row of parameters (the consensus model) on the samples with these ids."""
        e = self.experiment
        x, y = self._samples(samples)
        with torch.inference_mode():
            row = e.model.of_lead(row_P.to(e.device, e.dtype)).unsqueeze(0)
            found = e.evaluator(e.metrics.outputs).examine(row, x, y)
        parts = found.loss_B, found.hits_BC, found.values_BV
        loss, hits, values = (part.double().cpu().numpy() for part in parts)
        return Evaluation(np.zeros(0, np.int64), loss, hits, None, values)

    def _samples(self, samples: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels (or targets ``[T, C]``) of the samples with these ids, on the compute
        device.
        """
        e, data = self.experiment, self.experiment.data.dataset
        x, y = torch.as_tensor(data.x[samples]), torch.as_tensor(data.y[samples])
        x = x.to(e.dtype) if x.is_floating_point() else x
        y = y if data.classes else y.to(e.dtype).reshape(len(y), -1)
        return x.to(e.device), y.to(e.device)
