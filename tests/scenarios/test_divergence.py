"""What diverged means: also a loss that is finite and beyond all measure; and what is said where
every rate diverges.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import DivergedError
from swarm.experiments.runs.lr_search import search_lr
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.measure import BEYOND
from tests.support import logged, prepared, records, run, simulation

LINEAR = (
    "data=linear_regression",
    "partition=natural",
    "model=softmax",
    "compute.dtype=float64",
    "train.local_steps=1",
)
# its loss grows by a factor of about ten a round
SLOW = (*LINEAR, "optimizer.lr=1.0", "evaluate.every=5")


def test_a_loss_that_is_finite_but_beyond_all_measure_has_diverged(tmp_path: Path) -> None:
    """In float64 it would take hundreds of rounds to infinity; until then it counted as a
    result.
    """
    summary = run(
        tmp_path / "run", *SLOW, "rounds=60", "scenario.arms=[swarm,isolated,centralised]"
    )
    for name in ("swarm", "isolated"):
        assert summary["arms"][name]["diverged"]["round"] < 60
        assert (
            max(
                r["train_loss"]
                for r in logged(tmp_path / "run")
                if r["arm"] == name and "train_loss" in r
            )
            < 1e10
        )
    assert summary["gap_closed"] is None
    assert "isolated (device" in summary["gap_closed_reason"]
    assert "diverged" in summary["gap_closed_reason"]


def test_others_go_on_only_where_there_are_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arms, others in (("swarm", ("",)), ("swarm,isolated", (", the others go on", ""))):
        run(tmp_path / arms, *SLOW, "rounds=60", f"scenario.arms=[{arms}]")
        said = [
            line for line in capsys.readouterr().out.splitlines() if "this arm ends here" in line
        ]
        assert [line.partition("this arm ends here")[2] for line in said] == list(others)


def test_it_ends_in_the_same_round_however_the_work_is_cut(tmp_path: Path) -> None:
    ends = []
    for i, cut in enumerate(
        (("engine.shards=1",), ("engine.shards=3",), ("evaluate.every=1", "checkpoint.every=7"))
    ):
        found = run(tmp_path / str(i), *SLOW, "rounds=60", "engine.block=3", *cut)
        ends.append(found["arms"]["swarm"]["diverged"])
    assert ends[0] is not None
    assert ends == [ends[0]] * 3


def test_what_the_last_steps_did_counts_too() -> None:
    """The training loss of a round is taken before its steps, so it says nothing of where the last
    ones lead.
    """
    with pytest.raises(DivergedError, match="round 1"):
        records(prepared(*LINEAR, "optimizer.lr=1.0e+18", "rounds=1"))


@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_the_measure_is_a_model_that_has_learnt_nothing(model: str) -> None:
    with simulation(prepared(f"model={model}")) as running:
        assert running.measure.largest_loss == pytest.approx(BEYOND * math.log(10), rel=0.2)
    with simulation(prepared("protocol=averaging", "init=independent")) as running:
        assert running.measure.largest_loss == math.inf, "nobody learns"


def test_targets_far_from_nought_have_not_diverged_from_the_start() -> None:
    """The loss of the first rounds is enormous, and honest: that of a model which says 0."""
    ready = prepared(*LINEAR, "optimizer.lr=0.1", "rounds=3")
    y = ready.dataset.y.astype(np.float32) * 15_000 + 200_000
    ready = replace(ready, dataset=replace(ready.dataset, y=y))
    found = [r.values for r in records(ready)]
    assert found[-1]["train_loss"] > 1e10
    assert found[-1]["train_loss"] < found[1]["train_loss"]


# --- the choice of the rate -----------------------------------------------------------------------


def _said(ready: PreparedRun) -> tuple[list[str], dict[str, object]]:
    said: list[str] = []
    with ready.engine as engine:
        _, facts = search_lr(ready, ready.arms[0], engine, said.append)
    return said[1:], facts


def test_where_every_rate_diverges_no_end_of_the_grid_is_praised() -> None:
    said, facts = _said(
        prepared(*LINEAR, "optimizer.lr=auto", "lr_search.lrs=[10.0,100.0]", "rounds=30")
    )
    assert len(said) == 1
    assert "every learning rate of [10.0, 100.0] diverged" in said[0]
    assert "lr_search.lrs=[0.1, 0.33, 1]" in said[0]
    assert "scaled" in said[0]
    assert "edge" not in said[0]
    assert facts["lr"] == 10.0
    assert all(each["score"] is None for each in facts["tried"])  # type: ignore[attr-defined]


def test_nor_is_a_rate_that_only_made_it_worse() -> None:
    """A few rounds that blow up are finite still; the slowest rate wins, and is no better than the
    first model.
    """
    said, _ = _said(prepared(*LINEAR, "optimizer.lr=auto", "lr_search.lrs=[1.0,1.5]", "rounds=5"))
    assert len(said) == 1
    assert "no learning rate of [1.0, 1.5] does better than the model it starts from" in said[0]
    assert "edge" not in said[0]


def test_an_end_of_the_grid_that_learns_is_still_said() -> None:
    said, facts = _said(
        prepared(*LINEAR, "optimizer.lr=auto", "lr_search.lrs=[0.01,0.02]", "rounds=5")
    )
    assert facts["lr"] == 0.02
    assert "at the edge of [0.01, 0.02]" in said[0]


def test_a_trial_beyond_all_measure_is_no_choice() -> None:
    ready = prepared(
        *LINEAR,
        "optimizer.lr=auto",
        "lr_search.lrs=[0.01,1.0e+18]",
        "lr_search.rounds=1",
        "rounds=5",
    )
    _, facts = _said(ready)
    assert [each["score"] is None for each in facts["tried"]] == [False, True]  # type: ignore[attr-defined]
    assert facts["lr"] == 0.01
