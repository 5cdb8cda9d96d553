"""Claim 18: compressing a model makes it no denser in capability. A large model pruned and
distilled, against a small one from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field
from torch import Tensor

from scenarios.density import ACCURACY, LOSS, parameters_of
from swarm.common.errors import ConfigError
from swarm.common.statistics import Bound, geometric
from swarm.communication.topology.base import Static
from swarm.communication.topology.graph import Graph
from swarm.experiments.claims.base import (
    Budget,
    Claim,
    Condition,
    Count,
    Hypothesis,
    Start,
    Verdict,
)
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import SEED, Mean, Results, Row
from swarm.experiments.claims.shared.densities import Densities
from swarm.experiments.claims.shared.derived import assigned
from swarm.learning.model_compression import prune_neurons, quantise
from swarm.learning.models.dense import MLP

FROM_SCRATCH, PRUNED, DISTILLED = "from scratch", "pruned", "distilled"
LONGER, QUANTISED = "from scratch, with the teacher's computation", "quantised"
SWARM, SWARM_PRUNED = "from scratch, in a swarm", "pruned, in a swarm"
COMPRESSED = (PRUNED, DISTILLED)
REFERENCES: dict[str, Any] = {"method": FROM_SCRATCH, "arm": "centralised"}
BITS, STUDENT = 4, 1
MARGIN = 1.1  # densities that differ by less are called equal
_RULE = (
    f"confirmed if both ratios are below {MARGIN} with their 95% intervals; refuted if one of them"
    f" is above {MARGIN} with its interval"
)


class FromTeacher(Static):
    """Device 0 sends to device 1, which gives what it hears the whole weight; nobody sends to
    device 0."""

    def __init__(self, devices: int) -> None:
        if devices != 2:
            raise ConfigError("/devices", devices, "must be 2, a teacher and a student")
        super().__init__(Graph.from_edges(2, [(0, 1)], directed=True, weight=np.ones(1)))


class CompressedBudget(Budget):
    """``samples`` are all training samples; a model learns from them for ``rounds`` of ``steps``
    mini-batches. ``widths`` are the hidden neurons of the reference models, among which are those
    of the ``small`` and of the ``large`` model. ``devices`` are those of the swarm."""

    samples: Annotated[int, Field(ge=100)]
    rounds: Count
    steps: Count
    widths: list[Count]
    small: Count
    large: Count
    devices: Count


class Compressed(Claim):
    """A perceptron with one wide hidden layer learns from all samples. It is then made into one
    with a narrow layer: *pruned* (the neurons with the largest weights stay, and learn on for as
    many steps as the large model has learnt), or *distilled* (a new small model learns as many
    steps towards the large one's predictions for the same samples, without their labels). Beside
    them small models learn from scratch: for the steps that come after the compression, or for as
    much computation (FLOP of learning) as the large model and these steps took together.

    Density is measured as in ``scenario=density``: effective over actual size, by the accuracy of
    reference models of several widths that have learnt alone for as many steps as the large one.
    The small and the large reference model are the one from scratch and the teacher.

    All learn by plain SGD along a cosine, at one rate. The controls in a swarm of devices that
    share the samples, from scratch and from the pruned model, are shown and not judged, as is the
    large model with four bits a number and no further steps, whose bytes are about those of the
    small one in full precision.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            18,
            "Compressing a model makes it no denser than one of its size from scratch that learns"
            " for the steps after the compression.",
            "ρ of the pruned and of the distilled model over ρ of one from scratch with as many"
            " steps as came after the compression, paired by seed: the mean of ln ρ's differences",
            _RULE,
        ),
        Hypothesis(
            18,
            "Compressing a model makes it no denser than one of its size from scratch that learns"
            " with all computation that went into the compressed one.",
            "ρ of the pruned and of the distilled model over ρ of one from scratch with as many"
            " FLOP as the large model and the steps after the compression took, paired by seed: the"
            " mean of ln ρ's differences",
            _RULE,
        ),
    )
    untested = (
        "Language models, other ratios of sizes than this one, pruning in several steps, weights"
        " removed one by one, models of low rank, and distilling with labels beside the teacher's"
        " predictions. A compressed model for which the large one is there anyway costs only the"
        " steps after the compression, which the first hypothesis counts. Samples are as many as a"
        " small model can use; with few, a teacher may be worth more."
    )
    Budget = CompressedBudget

    def conditions(self) -> list[Condition]:
        """The reference models, what is made of the largest of them, and the controls."""
        b = self.budget
        self.require_ascending("widths", 5, "widths")
        for key in ("small", "large"):
            valid = "must be one of the widths of the reference models"
            self.require(getattr(b, key) in b.widths, key, valid)
        self.require(b.small < b.large, "small", "must be below that of large")
        teacher = {"method": FROM_SCRATCH, "size": parameters_of(b.large)}
        trained = Start(teacher, "centralised")
        pruned = replace(trained, made=partial(_pruned, large=b.large, small=b.small))
        longer = b.rounds + round(b.rounds * _flops(b.large) / _flops(b.small))
        small = {"size": parameters_of(b.small)}
        controls = {**self._learning(b.small, b.rounds), "devices": b.devices,
                    "data.per_device": b.samples // b.devices, "topology": "small_world",
                    "protocol": "dpsgd", "scenario.arms": ["swarm", "isolated"]}  # fmt: skip
        return [
            *(self._alone(FROM_SCRATCH, width, b.rounds) for width in b.widths),
            self._alone(LONGER, b.small, longer),
            self._alone(PRUNED, b.small, b.rounds, pruned),
            Condition({"method": DISTILLED, **small}, self._distilling(), trained),
            self._alone(QUANTISED, b.large, 0, replace(trained, made=_quantised)),
            Condition({"method": SWARM, **small}, controls),
            Condition({"method": SWARM_PRUNED, **small}, controls, pruned),
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        rho, made = self._densities(results), self._made()
        return [
            _judged(hypothesis, rho, made, than)
            for hypothesis, than in zip(self.hypotheses, (FROM_SCRATCH, LONGER), strict=True)
        ]

    def charts(self, results: Results) -> list[Chart]:
        rho, made = self._densities(results), self._made()
        by_size = rho.family("reference, from scratch")
        by_size += [rho.points(it, [made[it]]) for it in (PRUNED, DISTILLED, LONGER, QUANTISED)]
        names = (FROM_SCRATCH, LONGER, PRUNED, DISTILLED, SWARM, SWARM_PRUNED)
        shown = [name.replace(LONGER, "from scratch, longer") for name in names]
        means = [rho.mean(made[name]) for name in names]
        return [
            Chart("Density of small models", "how the model was made", "density ρ",
                  [Line.through("small models", range(len(names)), means, "points")],
                  level=(1.0, "the reference family"), names=shown),
            Chart("Accuracy by size", "parameters", "accuracy", by_size, log_x=True),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        rho, b = self._densities(results), self.budget
        after = b.rounds * b.steps
        of = {each.values["method"]: each for each in self.conditions()}
        columns = {
            "parameters": "size",
            "steps of its own": lambda row: of[row["method"]].changes["rounds"] * b.steps,
            "steps of its teacher": lambda row: after if of[row["method"]].start else 0,
            "accuracy": Mean(ACCURACY),
            "density ρ": rho.text,
        }
        return rho.results.table(self.rows(), columns, own=("method", "arm"))

    def _densities(self, results: Results) -> Densities:
        sizes = [parameters_of(width) for width in self.budget.widths]
        return Densities.of(_of_the_student(results), sizes, LOSS, ACCURACY, **REFERENCES)

    def _made(self) -> dict[str, Row]:
        """The row of each way to make a model, in the swarm where it is made in one; of those from
        scratch the small one's."""
        rows: dict[str, Row] = {row["method"]: row for row in reversed(self.rows())}
        return rows | {FROM_SCRATCH: {**REFERENCES, "size": parameters_of(self.budget.small)}}

    # --- runs -------------------------------------------------------------------------------------

    def _learning(self, width: int, rounds: int) -> dict[str, Any]:
        """The settings of models of this width that learn from samples with labels."""
        evaluated = {"rounds": rounds, "evaluate.every": max(1, rounds)}
        return {**evaluated, "model.hidden": [width], "train.local_steps": self.budget.steps}

    def _alone(self, method: str, width: int, rounds: int, start: Start | None = None) -> Condition:
        """One model that learns from all samples."""
        changes = {**self._learning(width, rounds), "devices": 1, "topology": "none",
                   "data.per_device": self.budget.samples, "protocol": "none",
                   "scenario.arms": ["centralised"]}  # fmt: skip
        return Condition({"method": method, "size": parameters_of(width)}, changes, start)

    def _distilling(self) -> dict[str, Any]:
        """The large model as a device that does not learn, and a small one that learns from its
        predictions alone, at the rates of local steps. Each has a mini-batch of its own, which
        nobody learns from, as a device must have some samples."""
        b = self.budget
        batch = self.settings["train.batch"]
        return {
            **self._learning(b.large, b.rounds),
            "devices": 2,
            "cohorts": {"student": {"devices": [STUDENT], "model": {"hidden": [b.small]}}},
            "topology": {"_target_": "scenarios.compressed.FromTeacher"},
            "data.per_device": b.samples // 2,
            "data.public": b.samples - 2 * batch,
            "protocol": "fedmd",
            "protocol.steps": b.steps,
            "protocol.batch": batch,
            "update": "frozen",
            "train.local_steps": 1,
            "scenario.arms": ["swarm"],
        }


def _judged(hypothesis: Hypothesis, rho: Densities, made: Mapping[str, Row], than: str) -> Verdict:
    """The verdict on models that are compressed, beside those that are made as ``than`` says."""
    rows = {name: made[name] for name in (*COMPRESSED, than)}
    outside = [f"{name} is {rho.text(row)}" for name, row in rows.items() if not rho.inside(row)]
    if outside:
        because = f"{'; '.join(outside)} the reference curve"
        missing = "more widths, so that the reference curve reaches as far"
        return hypothesis.verdict(None, because, missing=missing)
    own = rho.by_seed(rows[than])
    ratios = {name: geometric(rho.by_seed(rows[name]) / own) for name in COMPRESSED}
    parts = [f"{ratio.text(2)} times as dense {name}" for name, ratio in ratios.items()]
    means = {name: rho.mean(row) for name, row in rows.items()}
    each = ", ".join(f"{name} {mean.text(2)}" for name, mean in means.items())
    because = f"a small model is {' and '.join(parts)} as {than}; ρ is {each}"
    bounds = {f"{name} over {than}": Bound(each, below=MARGIN) for name, each in ratios.items()}
    densities: dict[str, Any] = {f"density, {name}": mean for name, mean in means.items()}
    return hypothesis.judged(bounds, because, **densities)


def _of_the_student(results: Results) -> Results:
    """The results with the accuracy of the student where there are two."""
    student = results.over_devices("accuracy", method=DISTILLED, device=STUDENT)

    def accuracy(finals: pd.DataFrame) -> Any:
        return finals[ACCURACY].mask(finals["method"] == DISTILLED, finals[SEED].map(student))

    return assigned(results, **{ACCURACY: accuracy})


def _pruned(state: Mapping[str, Tensor], large: int, small: int) -> dict[str, Tensor]:
    return prune_neurons(state, MLP((64,), 10, [large]), [small])


def _quantised(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return quantise(state, BITS)


def _flops(width: int) -> float:
    """The FLOP of a step of a sample."""
    return MLP((64,), 10, [width]).step_flops(1)
