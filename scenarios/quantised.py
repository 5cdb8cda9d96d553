"""Claim 14, its other half: devices that store their model in few bits go on learning, with an
adapter beside it or without one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from scenarios import arms
from swarm.common.rng import Keys
from swarm.common.statistics import Bound, Interval
from swarm.data.dataset import Dataset
from swarm.data.generated.digits import Digits
from swarm.data.generated.digits_like import DigitsLike
from swarm.data.scaling import Scale as Scale  # the type of an inherited setting
from swarm.data.stream.label_pairs import traded
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Figure, Mean, Results, Row
from swarm.experiments.claims.shared.changes import custom
from swarm.learning.kernels.module import initialised
from swarm.learning.model_compression.quantised import (
    PLAIN,
    check_quantised,
    matrices,
    packed_bytes,
    with_bits,
)
from swarm.learning.models.dense import MLP
from swarm.learning.models.lora import Adapters

HIDDEN, GROUP, RANK, ALPHA = 64, 64, 8, 8.0
SPLIT = 14  # of the real digits, for the base and for devices: it has seen nothing that they answer
PAIRS = 2  # of labels that trade places
SAMPLES, TRAINED_STEPS, TRAINED_BATCH, TRAINED_RATE = 4000, 2000, 32, 0.3
BATCH, STEPS, EACH = 8, 4, 60

World = Literal["before", "labels", "turned"]
WORLDS: dict[str, str] = {
    "labels": "two pairs of labels have traded places",
    "turned": "images are turned by a quarter",
}
ALL, NOTHING, ADAPTER = "everything", "nothing", "adapter"
NEAREST, STOCHASTIC = "grid nearest", "grid stochastic"
FEW = 4  # the bits that are judged
BITS: dict[str, tuple[int, ...]] = {
    ALL: (PLAIN,),
    ADAPTER: (PLAIN, 8, FEW, 2),
    NOTHING: (PLAIN, 8, FEW, 2),
    NEAREST: (8, FEW),
    STOCHASTIC: (8, FEW),
}
GRIDS = (NEAREST, STOCHASTIC)
STORED_BY = {ADAPTER: "model", NOTHING: "model", **dict.fromkeys(GRIDS, "optimizer")}
POINT = 0.01
ACCURACY = "accuracy_mean"
SHAPES = ((HIDDEN, 64), (HIDDEN,), (10, HIDDEN), (10,))


@dataclass(eq=False)
class LaterDigits(DigitsLike):
    """Generated digits (:class:`DigitsLike`) of a ``world``: as they were ``before``, with two
    pairs of ``labels`` that have traded places, or ``turned`` by a quarter, validation and test
    samples included. Which real digits are held out does not depend on the seed."""

    world: World = "labels"

    def load(self) -> Dataset:
        before = super().load()
        if self.world == "turned":
            image = np.rot90(before.x.reshape(-1, 8, 8), axes=(1, 2))
            return replace(before, x=np.ascontiguousarray(image).reshape(before.x.shape))
        if self.world == "before":
            return before
        new_C = traded(before.classes, PAIRS, Keys(self.seed, "later_digits").generator())
        return replace(before, y=new_C[before.y])

    def _real(self) -> Dataset:
        return Digits(scale="none", seed=SPLIT).load()


@lru_cache(maxsize=4)
def trained_before(draw: int) -> dict[str, Tensor]:
    """The parameters of a perceptron that has learnt 4,000 digits of the world before, centrally,
    by 2,000 steps of SGD with a rate that falls to zero; ``draw`` seeds digits, start and order."""
    data = LaterDigits(1, SAMPLES, seed=draw, world="before").load()
    x = torch.as_tensor(data.x[data.train])
    y = torch.as_tensor(data.y[data.train].astype(np.int64))
    with torch.inference_mode(False), torch.enable_grad():
        model = initialised(lambda: MLP((64,), 10, [HIDDEN]), draw)
        order = torch.Generator().manual_seed(draw)
        own = list(model.parameters())
        for step in range(TRAINED_STEPS):
            some = torch.randint(len(x), (TRAINED_BATCH,), generator=order)
            loss = functional.cross_entropy(model(x[some].clone()), y[some].clone())
            gradients = torch.autograd.grad(loss, own)
            rate = TRAINED_RATE * (1 - step / TRAINED_STEPS)
            with torch.no_grad():
                for each, gradient in zip(own, gradients, strict=True):
                    each.sub_(gradient, alpha=rate)
        return {name: value.detach().clone() for name, value in model.state_dict().items()}


class Trained(MLP):
    """A perceptron with 64 hidden neurons that starts as :func:`trained_before` left it. Which one
    it is follows from torch's generator, which a run seeds: the same for all devices."""

    def __init__(self, features: tuple[int, ...], outputs: int) -> None:
        draw = int(torch.randint(1 << 31, ()))
        super().__init__(features, outputs, [HIDDEN])
        self.load_state_dict(trained_before(draw))


class OnTrained(Adapters):
    """The same perceptron, frozen, its matrices in ``bits`` bits, with adapters that learn."""

    def __init__(self, features: tuple[int, ...], outputs: int, bits: int = PLAIN) -> None:
        check_quantised(bits, GROUP)
        base = Trained(features, outputs)
        base.load_state_dict(with_bits(base.state_dict(), matrices(base), bits, GROUP))
        super().__init__(base, RANK, ALPHA, "*", bits, GROUP)


# The learning rate of each that did best in the mean of both worlds under seeds 100 and 101, which
# no verdict uses, out of 0.5, 1, 2 and others (everything: 0.3 to 3; adapter, at 4 bits: 0.1 to 2;
# stochastic: 0.3 to 2; nearest: 0.3 to 2).
_FREE = custom("model", Trained)
_FROZEN = {**custom("model", OnTrained), "optimizer.lr": 1.0}
_GRID = {**_FREE, "optimizer": "quantised_sgd", "optimizer.lr": 1.0, "optimizer.group": GROUP}
HOW: dict[str, dict[str, Any]] = {
    ALL: {**_FREE, "optimizer.lr": 2.0},
    ADAPTER: _FROZEN,
    NOTHING: {**_FROZEN, "rounds": 0},  # it is looked at as it starts
    NEAREST: {**_GRID, "optimizer.rounding": "nearest"},
    STOCHASTIC: {**_GRID, "optimizer.rounding": "stochastic"},
}
FIXED = {
    "train.batch": BATCH,
    "train.clip_norm": 1.0,
    "train.local_steps": STEPS,
    **custom("data", LaterDigits, per_device=EACH),
}


class QuantisedBudget(SizedBudget):
    """The number of devices and rounds, which are the same for all that learn, and the ``bits``
    that are tried, of 32, 8, 4 and 2."""

    bits: list[int] = Field(default_factory=lambda: list(BITS[ADAPTER]))


class Quantised(Claim):
    """Devices are given one perceptron that was trained centrally before, on generated digits. Then
    the world is another one: labels have traded places, or images are turned. Every device has 60
    samples of it, in a mix of its own, and goes on learning, with its neighbours.

    What is stored in few bits are the matrices of the perceptron, in groups of 64 numbers with a
    scale and a zero. With an *adapter* they stand still, and a product of rank 8 beside each learns
    in float32; it alone is sent. Without one (*grid*) all parameters are stored in few bits, and
    are rounded after each step and after each mean with neighbours, to the nearest grid point or at
    random. Controls: float32 that learns everything, and perceptrons that learn nothing more.

    Samples, steps and rounds are equal; bytes are not.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            14,
            "A device with a base of 4 bits and an adapter goes on learning as well as one that"
            " learns everything in float32: it loses less than a point.",
            "final accuracy in the changed world, mean over devices; 4 bits and an adapter minus"
            " float32, in each of the two worlds, paired by seed",
            "confirmed if both differences are above −1 point with their 95% intervals; refuted if"
            " one is below −1 point with its interval",
        ),
        Hypothesis(
            14,
            "Without an adapter a device of 4 bits stops learning: it gains less than a point.",
            "final accuracy in the changed world, mean over devices; of parameters that are rounded"
            " after each step, to the nearest and at random, minus that of a base of 4 bits that"
            " learns nothing, in each of the two worlds, paired by seed",
            "confirmed if all four differences are below 1 point with their 95% intervals; refuted"
            " if one is above 1 point with its interval",
            chart=4,
        ),
    )
    untested = (
        "Larger models than a perceptron of 4,810 numbers, language, other ranks than 8, and "
        "adapters that learn by Adam, as QLoRA's do: all learn by SGD, at rates of their own, with "
        "gradients clipped to a norm of 1. Grids whose scales follow the numbers: here they are "
        "fixed at the start. Arithmetic in few bits: weights are multiplied in float32, as are "
        "activations and gradients, and the FLOP of unpacking are not counted. Messages of "
        "parameters on a grid count 32 bits a number, though 4 would say them. Which real digits "
        "are held out is the same under all seeds."
    )
    Budget = QuantisedBudget

    def conditions(self) -> list[Condition]:
        """Each way to learn with each number of bits, in both worlds. The controls are beside
        float32, the adapter on 4 bits, and 4 bits at random."""
        tried = self.budget.bits
        valid = "must be 32 and 4, and 8 or 2 beside them"
        self.require({PLAIN, FEW} <= {*tried} <= {*BITS[ADAPTER]}, "bits", valid)
        controlled = ((ALL, PLAIN), (ADAPTER, FEW), (STOCHASTIC, FEW))
        return [
            Condition.of({"world": world, "learns": learns, "bits": bits},
                         self.budget.size(), FIXED, {"data.world": world}, HOW[learns],
                         {f"{STORED_BY[learns]}.bits": bits} if learns in STORED_BY else {},
                         arms=arms((learns, bits) in controlled))
            for world in WORLDS
            for learns, each in BITS.items()
            for bits in each
            if bits in tried
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        lost = _above(results, ADAPTER, ALL, PLAIN)
        same = _above(results, ADAPTER, ADAPTER, PLAIN)
        gained = {learns: _above(results, learns, NOTHING, FEW) for learns in GRIDS}
        first = (
            f"4 bits and an adapter are {_in_words(lost)} points from float32; they are"
            f" {_in_words(same)} from an adapter on a base in float32"
        )
        second = (
            f"without an adapter 4 bits gain {_in_words(gained[NEAREST])} points where they are"
            f" rounded to the nearest and {_in_words(gained[STOCHASTIC])} at random"
        )
        kept = {world: Bound(gap, above=-POINT) for world, gap in lost.items()}
        stopped = {
            f"{learns}, {world}": Bound(gap, below=POINT)
            for learns, gaps in gained.items()
            for world, gap in gaps.items()
        }
        adapter, grid = self.hypotheses
        return [adapter.judged(kept, first), grid.judged(stopped, second)]

    def charts(self, results: Results) -> list[Chart]:
        float32 = {world: results.mean(ACCURACY, **_at(world, ALL, PLAIN)) for world in WORLDS}
        shown = [(ALL, PLAIN), (ADAPTER, PLAIN), (ADAPTER, FEW), (STOCHASTIC, FEW), (NEAREST, FEW)]
        curves = {
            f"{learns}, {bits} bits": {"learns": learns, "bits": bits, "arm": "swarm"}
            for learns, bits in shown
        }
        ways = {learns: {"learns": learns} for learns in BITS if learns != ALL}
        by_bits = [
            Chart(f"In few bits: {what}", "bits of a number of the model",
                  "final accuracy, mean over devices",
                  results.lines_along(ACCURACY, "bits", ways, world=world, arm="swarm"),
                  log_x=True, level=(float32[world].mean, "float32"))
            for world, what in WORLDS.items()
        ]  # fmt: skip
        by_round = [
            Chart(f"Learning: {what}", "round", "accuracy, mean over devices",
                  results.by_rounds(ACCURACY, curves, world=world))
            for world, what in WORLDS.items()
        ]  # fmt: skip
        return by_bits + by_round

    def table(self, results: Results) -> pd.DataFrame:
        columns = {
            "accuracy": Mean(ACCURACY),
            "points from float32": Mean(ACCURACY, 1, 100, minus={"learns": ALL, "bits": PLAIN}),
            "model, bytes": Figure(lambda row: _model_bytes(results, row), ",.0f"),
            "sent, MB": Figure("bytes_total", ".1f", per=1e6, zero=False),
            "learning, GFLOP": Figure("flops_total", ".2f", per=1e9, zero=False),
            "diverged": lambda row: len(results.diverged(**row)),
        }
        return results.table(self.rows(), columns, own=("world", "learns", "bits", "arm"))


def _at(world: str, learns: str, bits: int) -> dict[str, Any]:
    return {"world": world, "learns": learns, "bits": bits, "arm": "swarm"}


def _above(results: Results, learns: str, other: str, bits: int) -> dict[str, Interval]:
    """What 4 bits are above others, in each world."""
    rows = {world: (_at(world, learns, FEW), _at(world, other, bits)) for world in WORLDS}
    return {world: results.difference(ACCURACY, *both) for world, both in rows.items()}


def _in_words(gaps: dict[str, Interval]) -> str:
    return ", ".join(f"{each.text(1, 100)} ({world})" for world, each in gaps.items())


def _model_bytes(results: Results, row: Row) -> float:
    """The bytes in which a device stores its model: the adapters beside the base, or all
    parameters."""
    if row["learns"] in GRIDS:
        return sum(packed_bytes(int(np.prod(s)), row["bits"], GROUP) for s in SHAPES)
    learns_nothing = row["learns"] == NOTHING
    learnt = 0.0 if learns_nothing else 4 * results.mean("parameters", **row).mean
    return learnt + results.mean("frozen_bytes", **row).mean
