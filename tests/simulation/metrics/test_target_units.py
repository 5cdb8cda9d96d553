"""A metric of one's own is told in which unit it sees numeric targets, so that it can measure in
the targets' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import swarm
from tests.support import run

OWN = Path(__file__).with_name("unit_metrics.py")
NAMES = ("Absolute", "Relative", "Squared", "Told")
METRICS = [{"_target_": f"unit_metrics.{name}"} for name in NAMES]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two targets in units that are far apart, and far from 0."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(400, 3))
    found = pd.DataFrame(x, columns=list("abc"))
    found["metres"] = 5000 + 200 * (x @ [1.0, -1.0, 0.5]) + draw.normal(size=400)
    found["share"] = 0.5 + 0.01 * x[:, 0] + 0.001 * draw.normal(size=400)
    found.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def settings(path: Path, scaled: str) -> tuple[str, ...]:
    return (
        "data=table",
        f"data.path={path}",
        "data.label=[metres,share]",
        "data.task=regression",
        f"data.target_scale={scaled}",
        "partition=iid",
        "devices=4",
        "topology=ring",
        "rounds=2",
        "optimizer.lr=0.01",
        "train.loss=mae",
        "model=softmax",
        f"plugins=[{OWN}]",
    )


@pytest.mark.parametrize("scaled", ["standard", "none"])
def test_metrics_of_ones_own_measure_in_the_targets_own_units(
    table: Path, tmp_path: Path, scaled: str
) -> None:
    words = settings(table, scaled)
    got = run(tmp_path / "run", *words, metrics=["standard", *METRICS])["arms"]["swarm"]
    loaded: Any = swarm.load(tmp_path / "run")
    data = loaded.with_prepared(True, lambda prepared: prepared.dataset)
    span, shift = (
        (np.ones(2), np.zeros(2)) if scaled == "none" else (data.target.span, data.target.shift)
    )
    y_TC = shift + span * data.y[data.test]
    answers = [shift + span * loaded.predict("swarm", i, trust=True) for i in range(4)]
    error_NTC = np.abs(np.stack(answers) - y_TC)
    assert got["absolute_mean"] == pytest.approx(error_NTC.mean(), rel=1e-5)
    assert got["absolute_mean"] == pytest.approx(got["loss_mean"], rel=1e-5)
    assert got["relative_mean"] == pytest.approx((error_NTC / np.abs(y_TC)).mean(), rel=1e-4)
    assert got["squared_mean"] == pytest.approx((error_NTC**2).mean(), rel=1e-5)
    assert got["told"] == pytest.approx(span.sum() + 1000 * shift.sum())
    if scaled == "standard":
        assert span.max() / span.min() > 1000  # one unit for both would be found out


def test_of_classes_1_is_1(tmp_path: Path) -> None:
    got = run(tmp_path / "run", "rounds=1", f"plugins=[{OWN}]", metrics=["standard", METRICS[3]])
    assert got["arms"]["swarm"]["told"] == 10


def test_what_the_run_says_of_the_unit_is_no_option(table: Path) -> None:
    node = {**METRICS[0], "target_span": 3}
    words = [*settings(table, "standard")]
    with pytest.raises(swarm.ConfigError, match=r"^metrics\.target_span=3: is set by the run"):
        swarm.check({"metrics": [node]}, overrides=words)


@pytest.mark.parametrize("name", NAMES[:3])
def test_such_a_metric_passes_the_checks_of_a_plug_in(table: Path, name: str) -> None:
    words = [
        w
        for w in settings(table, "standard")
        if not w.startswith(("devices", "rounds", "topology"))
    ]
    swarm.check_plugin(f"unit_metrics.{name}", *words)
