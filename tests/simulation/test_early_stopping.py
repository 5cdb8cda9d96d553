"""Early stopping and the best round: what is kept equals a run of that many rounds, nothing but the
end of an arm changes, and a killed run comes to the same.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.common.rows import params_sha256
from swarm.config.schema import sealed
from swarm.experiments.loading import LoadedRun
from swarm.simulation.experiment.early_stopping import StoppingRule, StoppingState
from tests.support import logged, prepared, run

# a rate so high that the loss rises again
WORDS = ("rounds=12", "optimizer.lr=1.5", "devices=6", "topology=ring", "checkpoint.keep=99")
STOPS = (*WORDS, "early_stopping.metric=validation_loss", "early_stopping.patience=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stops early; nobody changes it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, *STOPS)
    return folder


def _facts(folder: Path, arm: str = "swarm") -> dict[str, Any]:
    final = swarm.load(folder).final(arm)
    return {**final["early_stopping"], "rounds": final["rounds"]}


# --- the rule -------------------------------------------------------------------------------------


def _reference(
    values: list[float | None], higher: bool, patience: int | None, delta: float
) -> tuple[int | None, int | None]:
    """The best evaluation and the one after which an arm ends, by a plain loop over all values."""
    signed = [None if v is None or math.isnan(v) else (v if higher else -v) for v in values]
    mark, since = -math.inf, 0
    i = 0
    for i, value in enumerate(signed):  # noqa: B007
        better = value is not None and (mark == -math.inf or value > mark + delta)
        mark, since = (value, 0) if better and value is not None else (mark, since + 1)
        if patience is not None and since >= patience:
            break
    seen = [(v, -j) for j, v in enumerate(signed[: i + 1]) if v is not None]
    best = -max(seen)[1] if seen else None
    return best, i if patience is not None and since >= patience else None


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_evaluation_and_the_end_are_those_of_a_plain_loop(higher: bool) -> None:
    draw = np.random.default_rng(0)
    for _ in range(300):
        values: list[float | None] = [float(v) for v in draw.integers(0, 6, 9) / 4]
        for place in draw.integers(0, 9, 2):
            values[place] = None if draw.random() < 0.5 else math.nan
        patience = None if draw.random() < 0.2 else int(draw.integers(1, 4))
        delta = 0.0 if patience is None else float(draw.integers(0, 3) / 4)
        rule = StoppingRule("x", "higher" if higher else "lower", patience, delta, False)
        state, ended = StoppingState(rule), None
        for round, value in enumerate(values):
            state.take({"round": round, "x": value})
            again = StoppingState(rule)
            again.restore(json.loads(json.dumps(state.facts())))
            state = again
            if state.stopped:
                ended = round
                break
        assert (state.best_round, ended) == _reference(values, higher, patience, delta)


# --- runs -----------------------------------------------------------------------------------------


def test_an_arm_ends_early_and_keeps_its_best_models(whole: Path, tmp_path: Path) -> None:
    found, records = _facts(whole), logged(whole)
    assert found["stopped"]
    assert 0 < found["best_round"] == found["rounds"] - 2 < 10
    losses = [record["validation_loss"] for record in records]
    assert found["best"] == min(losses) == losses[found["best_round"]]
    # all rounds up to the end are those of a run that knows nothing of it
    run(tmp_path / "plain", *WORDS)
    for mine, other in zip(records, logged(tmp_path / "plain"), strict=False):
        assert other == {k: v for k, v in mine.items() if not k.startswith("validation_")}
    # and what is kept is the end of a run of so many rounds
    end = run(tmp_path / "short", *WORDS, f"rounds={found['best_round']}")["arms"]["swarm"]
    loaded = swarm.load(whole)
    assert params_sha256(loaded.rows("swarm", best=True)) == end["params_sha256"]
    assert params_sha256(loaded.rows("swarm")) != end["params_sha256"]


def test_without_a_metric_nothing_is_kept_or_said(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "rounds=1")
    assert "early_stopping" not in summary["arms"]["swarm"]
    assert not (tmp_path / "run" / "checkpoints" / "swarm" / "best").exists()
    assert "validation_score" not in logged(tmp_path / "run")[-1]
    with pytest.raises(
        ConfigError, match=r"has no best round in .*early_stopping.metric keeps one"
    ):
        swarm.load(tmp_path / "run").rows("swarm", best=True)


@pytest.mark.parametrize("after", [0, 2, 99])
def test_killed_and_resumed_it_comes_to_the_same(whole: Path, tmp_path: Path, after: int) -> None:
    """Also where the best round was written after the checkpoint that the run goes on from, or the
    arm had ended, but nobody had noted it."""
    folder = tmp_path / "cut"
    shutil.copytree(whole, folder)
    (folder / "summary.json").unlink()
    progress = json.loads((folder / "progress.json").read_text())
    kept = {key: value for key, value in progress.items() if key != "seal"}
    (folder / "progress.json").write_text(json.dumps(sealed({**kept, "arms": {}})))
    for file in (folder / "checkpoints" / "swarm").glob("round_*"):
        if int(file.stem.removeprefix("round_")) > after:
            file.unlink()
    swarm.resume(folder, {"engine.shards": 3})
    assert logged(folder) == logged(whole)
    assert _facts(folder) == _facts(whole)
    best = [each / "checkpoints" / "swarm" / "best" for each in (folder, whole)]
    assert sorted(p.name for p in best[0].iterdir()) == sorted(p.name for p in best[1].iterdir())
    one, other = (swarm.load(each).rows("swarm", best=True) for each in (folder, whole))
    np.testing.assert_array_equal(one, other)


def test_more_rounds_do_not_wake_an_arm_that_stopped(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "more")
    summary = swarm.resume(tmp_path / "more", {"rounds": 20}).summary
    assert _facts(tmp_path / "more") == _facts(whole)
    assert summary["rounds"] == 20
    assert logged(tmp_path / "more") == logged(whole)


def test_more_rounds_go_on_with_one_that_did_not(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "short", *STOPS, "rounds=2", "schedule.rounds=12")
    assert not _facts(tmp_path / "short")["stopped"]
    swarm.resume(tmp_path / "short", {"rounds": 12})
    assert _facts(tmp_path / "short") == _facts(whole)


def test_each_arm_ends_for_itself_and_the_page_says_so(tmp_path: Path) -> None:
    words = (*STOPS, "scenario.arms=[swarm,isolated]", "rounds=8", "report=true")
    printed = run(tmp_path / "run", *words)
    ends = {arm: facts["rounds"] for arm, facts in printed["arms"].items()}
    assert len(set(ends.values())) == 2, "at different rounds"
    page = (tmp_path / "run" / "report.html").read_text()
    for arm, facts in printed["arms"].items():
        best = facts["early_stopping"]
        assert facts["rounds"] == max(
            r["round"] for r in logged(tmp_path / "run") if r["arm"] == arm
        )
        said = f"best: round {best['best_round']}, validation_loss {best['best']:.3f}"
        assert said in page
        if best["stopped"]:
            assert f"{arm} (after round {ends[arm]})" in page.partition("<table")[0]


def test_the_best_models_start_another_run(whole: Path, tmp_path: Path) -> None:
    state = swarm.load(whole).state_dict("swarm", 2, best=True)
    swarm.save_start(tmp_path / "start.safetensors", state)
    run(tmp_path / "run", *WORDS, "rounds=0", f"init={tmp_path / 'start.safetensors'}")
    started, best = (
        swarm.load(tmp_path / "run").rows("swarm"),
        swarm.load(whole).rows("swarm", best=True),
    )
    assert (started == best[2]).all()
    found = swarm.load(whole)
    assert isinstance(found, LoadedRun)
    right = found.predict("swarm", 2, best=True).argmax(1) == found.dataset("test")[1]
    rows = found.devices.query(
        "round == @at and device == 2", local_dict={"at": _facts(whole)["best_round"]}
    )
    assert right.mean() == pytest.approx(rows["accuracy"].item(), abs=1e-9)


def test_a_damaged_best_round_is_named(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "bad")
    (file,) = (tmp_path / "bad" / "checkpoints" / "swarm" / "best").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ConfigError, match=r"best.round_\d+.safetensors: has \d+ bytes where"):
        swarm.load(tmp_path / "bad").rows("swarm", best=True)


def test_an_arm_that_diverges_keeps_its_best_round(tmp_path: Path) -> None:
    summary = run(
        tmp_path / "run", *WORDS, "optimizer.lr=3000", "early_stopping.metric=validation_loss",
        "model=mlp", "model.activation=relu", "evaluate.every=1",
    )["arms"]["swarm"]  # fmt: skip
    assert summary["diverged"]
    assert np.isfinite(swarm.load(tmp_path / "run").rows("swarm", best=True)).all()
    assert summary["early_stopping"]["best_round"] is not None


def test_a_rate_is_chosen_on_all_rounds_of_a_try(tmp_path: Path) -> None:
    found = run(
        tmp_path / "run", *STOPS, "optimizer.lr=auto", "lr_search.lrs=[0.05,1.5]", "rounds=5"
    )
    assert {each["rounds"] for each in found["tuning"]["swarm"]["tried"]} == {5}


@pytest.mark.parametrize("metric", ["local_accuracy", "accuracy_p10", "loss", "consensus_accuracy"])
def test_metrics_decide_by_their_own_direction(tmp_path: Path, metric: str) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run(tmp_path / "run", "data.local_test=0.2", f"early_stopping.metric={metric}")
    found, records = _facts(tmp_path / "run"), logged(tmp_path / "run")
    values = [record[found["metric"]] for record in records]
    assert found["best"] == (min if metric == "loss" else max)(values)
    assert found["best_round"] == values.index(found["best"])
    samples = "the devices' own held-out" if metric == "local_accuracy" else "the test"
    assert any(f"chosen by {samples} samples" in str(each.message) for each in said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "early_stopping.metric=acuracy",
            r"metric=acuracy: is not measured .*did you mean accuracy",
        ),
        (
            "early_stopping.metric=local_accuracy",
            r"is not measured in this run \(local_accuracy needs samples of each device's own",
        ),
        ("early_stopping.metric=consensus_distance", "has no best round, as neither higher nor"),
        ("early_stopping.patience=3", "early_stopping.patience=3: needs early_stopping.metric"),
        (
            "early_stopping.min_delta=0.1",
            "early_stopping.min_delta=0.1: needs early_stopping.metric",
        ),
        (
            "early_stopping.metric=accuracy early_stopping.min_delta=0.1",
            "min_delta=0.1: must be 0 unless early_stopping.patience says",
        ),
        (
            "early_stopping.metric=loss early_stopping.patience=0",
            "patience=0: must be a whole number",
        ),
        (
            "early_stopping.metric=loss early_stopping.patience=1 early_stopping.min_delta=-1",
            "min_delta=-1: must be a finite number at least 0",
        ),
        (
            "early_stopping.metric=validation_score data.validation=0",
            r"data.validation=0: leaves no validation samples, which early_stopping.metric=",
        ),
        ("early_stopping.metric=loss evaluate.accuracy=false", "metric=loss: is not measured"),
    ],
)
def test_what_cannot_decide_is_refused(words: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*words.split())
