"""The rule of claim 18 on results made up for it, and the runs that it consists of."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from scenarios.compressed import (
    DISTILLED,
    FROM_SCRATCH,
    LONGER,
    PRUNED,
    STUDENT,
    FromTeacher,
    _pruned,
)
from scenarios.density import parameters_of
from swarm.common.errors import ConfigError
from swarm.communication.mixing import weights
from swarm.experiments.claims.results import Results
from swarm.learning.models.dense import MLP
from tests.scenarios.made_up import claim, judged, noise, results
from tests.scenarios.test_density import CURVE, FAMILY, LAW


def densities(wide: float = 0.0, **rho: float) -> Results:
    """Small models of these densities, paired by seed; those ``wide`` apart differ from seed to
    seed where they are compressed."""
    of = claim("compressed", seeds=20)
    named = {PRUNED: rho.get("pruned", 1.0), DISTILLED: rho.get("distilled", 1.0),
             LONGER: rho.get("longer", 1.0)}  # fmt: skip

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        name, size = values["method"], values["size"]
        if name == FROM_SCRATCH:
            loss = float(LAW.at(size))
            return {"loss_mean": loss, "accuracy_mean": float(CURVE.at(loss))}
        spread = wide * (seed - 9.5) * (name in (PRUNED, DISTILLED))
        log = math.log(named.get(name, 1.0)) + spread + noise(seed + len(name))
        return {"accuracy_mean": float(FAMILY.score(math.exp(log) * size))}

    found = results(of, value)
    students = found.finals[found.finals["method"] == DISTILLED]
    rows = [students.assign(device=STUDENT, accuracy=students["accuracy_mean"]),
            students.assign(device=0, accuracy=0.99)]  # fmt: skip
    finals = found.finals.assign(
        # the mean over teacher and student, which is nobody's
        accuracy_mean=found.finals["accuracy_mean"].mask(found.finals["method"] == DISTILLED, 0.99)
    )
    return replace(found, finals=finals, devices=pd.concat(rows))


@pytest.mark.parametrize(
    ("made", "holds"),
    [
        (densities(), [True, True]),
        (densities(pruned=0.6, distilled=0.7), [True, True]),
        (densities(pruned=1.5), [False, False]),
        (densities(distilled=1.5), [False, False]),
        (densities(pruned=1.5, distilled=1.3, longer=1.6), [False, True]),
        (densities(pruned=1.05, distilled=1.05), [True, True]),
        (densities(pruned=1.1, wide=0.02), [None, None]),
    ],
)
def test_the_rule_is_that_of_the_text(made: Results, holds: list[bool | None]) -> None:
    of = claim("compressed", seeds=20)
    assert [each.holds for each in judged(of, made)] == holds
    assert len(of.charts(made)) == 2


def test_ratios_are_paired_and_of_the_student_alone() -> None:
    of = claim("compressed", seeds=20)
    first, second = of.conclude(densities(pruned=1.5, distilled=0.8, longer=2.0))
    assert first.figures[f"{PRUNED} over {FROM_SCRATCH}"].mean == pytest.approx(1.5, rel=0.02)
    assert first.figures[f"{DISTILLED} over {FROM_SCRATCH}"].mean == pytest.approx(0.8, rel=0.02)
    assert second.figures[f"{PRUNED} over {LONGER}"].mean == pytest.approx(0.75, rel=0.02)


def test_outside_the_reference_curve_nothing_is_decided_and_it_says_so() -> None:
    of = claim("compressed", seeds=20)
    verdicts = judged(of, densities(pruned=100.0))
    assert [each.holds for each in verdicts] == [None, None]
    said = f"{PRUNED} is outside: 0 seeds below, 20 above the reference curve"
    assert verdicts[0].because == said


def test_the_longer_run_has_the_computation_of_teacher_and_student() -> None:
    of = claim("compressed", seeds=20)
    b = of.budget
    changes = {c.values["method"]: c.changes for c in of.conditions() if c.values["method"] in (
        LONGER, PRUNED, DISTILLED)}  # fmt: skip

    def flops(rounds: int, width: int) -> float:
        return rounds * MLP((64,), 10, [width]).step_flops(1)

    spent = flops(b.rounds, b.large) + flops(b.rounds, b.small)
    assert flops(changes[LONGER]["rounds"], b.small) == pytest.approx(spent, rel=0.01)
    assert changes[PRUNED]["rounds"] * changes[PRUNED]["train.local_steps"] == (
        changes[DISTILLED]["rounds"] * changes[DISTILLED]["protocol.steps"]
    )
    for condition in of.conditions():
        if condition.start is not None:
            assert condition.start.values == {
                "method": FROM_SCRATCH, "size": parameters_of(b.large)
            }  # fmt: skip


def test_a_student_gives_its_teacher_the_whole_weight_and_teaches_nobody() -> None:
    found = weights(FromTeacher(2).graph(0), "auto").matrix.toarray()
    np.testing.assert_array_equal(found, [[1, 0], [1, 0]])
    with pytest.raises(ConfigError, match="must be 2"):
        FromTeacher(3)


def test_the_pruned_model_has_the_size_that_is_counted() -> None:
    state = _pruned(MLP((64,), 10, [16]).state_dict(), large=16, small=4)
    assert sum(value.numel() for value in state.values()) == parameters_of(4)
    MLP((64,), 10, [4]).load_state_dict(state)
    assert torch.isfinite(state["1.weight"]).all()


@pytest.mark.parametrize(
    ("key", "value"), [("small", 5), ("large", 4), ("widths", [1, 2, 4, 64]), ("small", 64)]
)
def test_budgets_that_do_not_fit_are_refused(key: str, value: Any) -> None:
    of = claim("compressed", seeds=20)
    of.budget = of.budget.model_copy(update={key: value})
    with pytest.raises(ConfigError, match=key if (key, value) != ("large", 4) else "small"):
        of.conditions()
