"""Regressions whose targets are far from unit scale: learnt on scaled targets, reported in the
targets' own unit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import swarm
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from tests.support import config, logged, run

OPTIONS = (
    "data=table",
    "data.label=price",
    "data.task=regression",
    "partition=iid",
    "devices=8",
    "model=softmax",
)
OPTIONS += ("rounds=20", "scenario.arms=[swarm,centralised]", "evaluate.every=10")


def houses(folder: Path, unit: float = 1.0) -> str:
    """Prices around 200,000, which a linear model explains to 96%."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(600, 5))
    price = 200_000 + 15_000 * (x @ [3, -2, 1, 0.5, 2]) + 12_000 * draw.normal(size=600)
    table = pd.DataFrame(x * 100 + 7000, columns=list("abcde")).assign(price=unit * price)
    table.to_csv(folder / f"houses{unit:g}.csv", index=False)
    return f"data.path={folder}/houses{unit:g}.csv"


@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_prices_are_learnt_with_the_rates_that_are_tried_anyway(tmp_path: Path, model: str) -> None:
    summary = run(
        tmp_path / "run", *OPTIONS, houses(tmp_path), f"model={model}", "optimizer.lr=auto"
    )
    for arm in ("swarm", "centralised"):
        assert summary["arms"][arm]["r2_mean"] > 0.9
        assert summary["arms"][arm]["diverged"] is None


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_errors_are_those_of_raw_predictions(tmp_path: Path, loss: str) -> None:
    """The summary says how a device's answers become prices, and the reported error is that of
    these prices.
    """
    options = (*OPTIONS, houses(tmp_path), "optimizer.lr=0.1", f"train.loss={loss}")
    summary = run(tmp_path / "run", *options)
    state = swarm.load(tmp_path / "run").state_dict("centralised", 0)
    weight, bias = (
        next(v.double().numpy() for k, v in state.items() if k.endswith(name))
        for name in ("weight", "bias")
    )
    features, target = summary["scaling"]["features"], summary["scaling"]["target"]
    assert features["names"] == list("abcde")
    table = pd.read_csv(tmp_path / "houses1.csv").iloc[
        PreparedRun.prepare(Settings.parse(config(*options))).dataset.test
    ]
    x = (table[features["names"]].to_numpy() - features["shift"]) / features["span"]
    predicted = target["shift"][0] + target["span"][0] * (x @ weight.T + bias)[:, 0]
    error = predicted - table["price"].to_numpy()
    expected = np.square(error).mean() if loss == "mse" else np.abs(error).mean()
    assert summary["arms"]["centralised"]["loss_mean"] == pytest.approx(expected, rel=1e-4)
    r2 = 1 - np.square(error).sum() / np.square(table["price"] - table["price"].mean()).sum()
    assert summary["arms"]["centralised"]["r2_mean"] == pytest.approx(r2, abs=1e-5)


def test_another_unit_is_another_unit_and_nothing_else(tmp_path: Path) -> None:
    """Prices in thousandths: every error is a millionth, and every R² the same."""
    for unit in (1.0, 0.001):
        run(
            tmp_path / f"{unit}",
            *OPTIONS,
            houses(tmp_path, unit),
            "optimizer.lr=0.1",
            "scenario.arms=[swarm]",
        )
    for one, other in zip(*(logged(tmp_path / f"{unit}") for unit in (1.0, 0.001)), strict=True):
        for name in ("train_loss", "loss_mean", "consensus_loss", "prequential_mse", "stream_mse"):
            if one.get(name) is not None:
                assert other[name] == pytest.approx(1e-6 * one[name], rel=1e-3)
        if one.get("r2_mean") is not None:
            assert other["r2_mean"] == pytest.approx(one["r2_mean"], abs=1e-5)


def test_a_run_folder_without_the_option_predicts_targets_as_they_are(tmp_path: Path) -> None:
    """As runs did before there was one: they are resumed to the same bits."""
    made: dict[str, Any] = config(*OPTIONS, houses(tmp_path, 1e-5), "optimizer.lr=0.1")
    assert yaml.safe_load(Path("conf/data/table.yaml").read_text())["target_scale"] == "standard"
    del made["data"]["target_scale"]
    old = PreparedRun.prepare(Settings.parse(made)).dataset
    assert old.target is None
    np.testing.assert_allclose(
        old.y[:, 0], pd.read_csv(tmp_path / "houses1e-05.csv")["price"], rtol=1e-6
    )
