"""The comparison: the share of the gap, a centralised control that gets as much, and arms that
diverge.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import swarm
from swarm.common.errors import ConfigError
from swarm.common.rows import params_sha256
from swarm.config.settings import Settings
from swarm.experiments.runs.lr_search import TriedRate, search_lr
from swarm.experiments.runs.lr_search.tries import Part, go_on
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.runs.scenario import Arm
from swarm.results.load import load
from swarm.results.report.html.page import page
from swarm.simulation.loop import Simulation
from tests.support import config, final_rows, logged, module_of, prepared, run

ALL = "scenario.arms=[swarm,isolated,centralised,fedavg]"
Found = dict[tuple[float, int], tuple[float, float] | None]  # score and loss by rate and rounds
QUADRATIC = Path(__file__).parents[1] / "communication" / "protocol" / "quadratic.py"


# --- the share of the gap -------------------------------------------------------------------------


def test_gap_closed_is_the_swarms_share_of_what_isolation_loses(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", ALL, "rounds=15", "optimizer.lr=0.3", "evaluate.every=15")
    S, I, C = (  # noqa: E741
        summary["arms"][name]["accuracy_mean"] for name in ("swarm", "isolated", "centralised")
    )
    assert C - I > 0.2
    assert summary["gap_closed"] == pytest.approx((S - I) / (C - I), abs=1e-12)
    assert summary["gap_closed_reason"] is None
    assert set(summary["arms"]) == {"swarm", "isolated", "centralised", "fedavg"}


def test_a_gap_too_small_to_share_is_null_with_the_reason(tmp_path: Path) -> None:
    summary = run(tmp_path / "start", ALL, "rounds=0", "lr_search.rounds=1")
    assert summary["gap_closed"] is None
    assert "0.02" in summary["gap_closed_reason"]
    alone = run(tmp_path / "alone", "rounds=1")
    assert alone["gap_closed"] is None
    assert "isolated, centralised" in alone["gap_closed_reason"]


def test_a_gap_is_spoken_of_only_where_its_three_arms_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "two", "scenario.arms=[swarm,isolated]", "rounds=1")
    assert "gap closed" not in capsys.readouterr().out.lower()
    assert "gap closed" not in page(load(tmp_path / "two")).lower()
    run(tmp_path / "three", "scenario.arms=[swarm,isolated,centralised]", "rounds=0")
    assert "Gap closed: not defined (" in " ".join(capsys.readouterr().out.split())
    assert "gap closed" in page(load(tmp_path / "three")).lower()


@pytest.mark.parametrize("arms", ["[]", "[swarm,swarm]", "[swarm,magic]"])
def test_arms_that_make_no_sense_are_refused(arms: str) -> None:
    with pytest.raises(ConfigError, match=r"scenario\.arms=.*swarm, isolated, centralised, fedavg"):
        prepared(f"scenario.arms={arms}")


def test_a_centralised_model_does_without_a_batch_that_no_stream_can_fill() -> None:
    words = ("devices=30", "data=digits", "train.batch=32", "scenario.arms=[swarm,centralised]")
    with pytest.warns(
        UserWarning,
        match=r"the arm centralised does without one of its batch sizes, as train\.batch=",
    ):
        _, arm = prepared("update=online", *words).arms
    assert [variant.train.batch for variant in arm.variants] == [32]
    _, arm = prepared("update=epochs", *words).arms
    assert len(arm.variants) == 2


# --- arms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        ("train.local_steps=3",),
        ("train.local_steps=null", "train.local_epochs=2", "partition=quantity_skew"),
    ],
    ids=["local steps", "local epochs"],
)
def test_centralised_sees_as_many_samples_as_all_devices_together(steps: tuple[str, ...]) -> None:
    ready = prepared(ALL, *steps, "train.batch=7")
    arms = {arm.name: arm for arm in ready.arms}
    devices = ready.experiment(arms["swarm"], arms["swarm"].variants[0])
    total = int(devices.data.local_steps_N.sum()) * devices.data.stream.batch
    assert len(arms["centralised"].variants) == 2
    for variant in arms["centralised"].variants:
        central = ready.experiment(arms["centralised"], variant)
        assert variant.devices == 1
        assert int(central.data.local_steps_N.sum()) * central.data.stream.batch == total
        np.testing.assert_array_equal(
            np.sort(central.data.split.sample), np.sort(devices.data.split.sample)
        )
        pool = len(central.data.split.sample)
        count = -(-pool // central.data.stream.batch)
        first_pass = central.data.stream.draw(
            np.array([0]), np.array([0]), count
        ).sample_BKb.reshape(-1)[:pool]
        np.testing.assert_array_equal(np.sort(first_pass), np.sort(devices.data.split.sample))


def test_of_the_centralised_batch_sizes_the_better_on_validation_runs(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "scenario.arms=[centralised]", "rounds=2", "lr_search.rounds=2")
    tried = summary["tuning"]["centralised"]
    assert {t["variant"] for t in tried["tried"]} == {0, 1}
    best = max(tried["tried"], key=lambda t: t["score"])
    assert (tried["variant"], tried["lr"]) == (best["variant"], best["lr"])


def test_every_arm_may_choose_its_rate_from_the_same_grid(tmp_path: Path) -> None:
    summary = run(
        tmp_path / "run",
        "scenario.arms=[swarm,isolated]",
        "rounds=2",
        "optimizer.lr=auto",
        "lr_search.lrs=[0.01,0.3]",
        "lr_search.rounds=2",
    )
    for arm in ("swarm", "isolated"):
        tuning = summary["tuning"][arm]
        assert [t["lr"] for t in tuning["tried"]] == [0.01, 0.3]
        assert (
            tuning["lr"]
            == max(tuning["tried"], key=lambda t: t["score"])["lr"]
            == summary["arms"][arm]["lr"]
        )


def test_the_test_set_has_no_say_in_the_choice_of_rates() -> None:
    """Scrambled test labels change no score of any trial."""
    ready = prepared("optimizer.lr=auto", "lr_search.lrs=[0.01,0.3]", "lr_search.rounds=2")
    y = ready.dataset.y.copy()
    y[ready.dataset.test] = (y[ready.dataset.test] + 1) % 10
    scrambled = dataclasses.replace(ready, dataset=dataclasses.replace(ready.dataset, y=y))
    assert search_lr(ready, ready.arms[0], ready.engine, print) == search_lr(
        scrambled, scrambled.arms[0], scrambled.engine, print
    )


def test_isolated_devices_learn_alone(tmp_path: Path) -> None:
    """Each ends where it would end if the others held other data."""
    ready = prepared("scenario.arms=[isolated]", "engine.block=3")
    found = final_rows(ready)
    alone = prepared("scenario.arms=[swarm]", "protocol=none", "topology=none", "engine.block=3")
    np.testing.assert_array_equal(found, final_rows(alone))
    assert len(np.unique(found, axis=0)) == len(found)
    fed = final_rows(prepared("scenario.arms=[fedavg]"))
    assert (fed == fed[0]).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", [0, 1])
def test_centralised_is_no_straw_man(seed: int) -> None:
    """Within a point of scikit-learn's MLP of the same width on the same training and test samples
    (better is fine).

    The default run's centralised arm, except that it makes 20 rounds out of 100. scikit-learn's
    result moves by more than a point with its starting weights, so several starts are averaged.
    """
    from sklearn.neural_network import MLPClassifier

    ready = prepared(
        "scenario.arms=[centralised]",
        f"seed={seed}",
        "devices=100",
        "rounds=20",
        "train.local_steps=5",
        "train.batch=32",
        "optimizer.lr=auto",
        "evaluate.every=20",
    )
    data, test = ready.dataset, ready.dataset.test
    held = np.sort(ready.split.sample)
    np.testing.assert_array_equal(held, np.sort(data.train))
    references = [
        MLPClassifier((64,), max_iter=400, random_state=r).fit(data.x[held], data.y[held])
        for r in range(3)
    ]
    score = float(np.mean([r.score(data.x[test], data.y[test]) for r in references]))
    assert score > 0.95
    chosen, _ = search_lr(ready, ready.arms[0], ready.engine, print)
    with Simulation(ready.experiment(ready.arms[0], chosen), ready.engine) as running:
        last = list(running.records(20))[-1].values
    assert last["accuracy_mean"] > score - 0.01


def _scores(monkeypatch: pytest.MonkeyPatch, table: Found) -> None:
    """Trials that find what the table says for their rate and rounds."""

    def found(
        ready: PreparedRun, arm: Arm, pairs: list[tuple[int, float]], part: Part, *rest: object
    ) -> list[tuple[TriedRate, None]]:
        return [(TriedRate(*pair, part.until, table[pair[1], part.until]), None) for pair in pairs]

    monkeypatch.setattr("swarm.experiments.runs.lr_search.tries.go_on", found)


RATES = ("optimizer.lr=auto", "lr_search.lrs=[0.1,0.3,1.0]", "lr_search.method=grid", "rounds=50")
# 0.1 and 0.3 tie, and 0.1 has the lower loss
SHORT: Found = {(0.1, 10): (0.97, 0.2), (0.3, 10): (0.97, 0.3), (1.0, 10): (0.96, 0.1)}


@pytest.mark.parametrize(
    ("longer", "lr"),
    [
        ({(0.1, 50): (0.97, 0.2), (0.3, 50): (0.98, 0.4)}, 0.3),
        ({(0.1, 50): (0.98, 0.3), (0.3, 50): (0.98, 0.2)}, 0.3),
        ({(0.1, 50): (0.97, 0.2), (0.3, 50): None}, 0.1),
    ],
    ids=["by score", "still equal: by loss", "one diverges later"],
)
def test_rates_that_tie_after_a_short_trial_are_run_in_full(
    monkeypatch: pytest.MonkeyPatch, longer: Found, lr: float
) -> None:
    _scores(monkeypatch, {**SHORT, **longer})
    ready = prepared(*RATES)
    chosen, facts = search_lr(ready, ready.arms[0], ready.engine, print)
    assert chosen.optimizer["lr"] == facts["lr"] == lr
    assert [(t["lr"], t["rounds"]) for t in facts["tried"]] == [
        (0.1, 10),
        (0.3, 10),
        (1.0, 10),
        (0.1, 50),
        (0.3, 50),
    ]


def test_tune_rounds_is_kept_to_and_a_clear_winner_needs_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _scores(monkeypatch, SHORT)
    ready = prepared(*RATES, "lr_search.rounds=10")
    assert search_lr(ready, ready.arms[0], ready.engine, print)[1]["lr"] == 0.1, (
        "a tie goes to the lower loss"
    )
    _scores(monkeypatch, {**SHORT, (1.0, 10): (0.98, 0.5)})
    ready = prepared(*RATES)
    assert search_lr(ready, ready.arms[0], ready.engine, print)[1]["lr"] == 1.0


def test_a_trial_in_full_is_the_arms_own_run() -> None:
    """Its schedule too: of a fixed horizon it sees as much as the arm does, a short trial sees the
    whole in short.
    """
    ready = prepared("schedule=cosine", "schedule.rounds=40", "rounds=4")
    arm, seen = ready.arms[0], []
    for rounds in (4, 2):
        [(trial, _)] = go_on(ready, arm, [(0, 0.1)], Part([], rounds, rounds), ready.engine)
        settings = arm.variants[0].model_copy(
            update={
                "rounds": rounds,
                "schedule": {**arm.variants[0].schedule, "rounds": 40 if rounds == 4 else 2},
            }
        )
        with Simulation(ready.experiment(arm, settings), ready.engine) as running:
            list(running.records(rounds))
            found = running.measure.validate(running.round, running.counters.scored_N)
            seen.append((trial.found, tuple(each.mean() for each in found)))
    assert all(found == expected for found, expected in seen)


# --- arms that diverge ----------------------------------------------------------------------------


def _steep(tmp_path: Path, arms: str) -> dict[str, Any]:
    """Device 3 is too steep for the rate: alone it diverges, averaging with the others holds it."""
    return run(
        tmp_path / "run", f"scenario.arms={arms}", "devices=8", "topology=complete", "partition=natural", "rounds=80",
        "train.batch=1", "train.local_steps=1", "optimizer.lr=0.05", "evaluate.every=20", f"plugins=[{QUADRATIC}]",
        "checkpoint.every=10", data={"_target_": "quadratic.Quadratics", "steep": 70.0}, model={"_target_": "quadratic.Slope"},
    )  # fmt: skip


def test_a_diverging_arm_ends_alone_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = _steep(tmp_path, "[isolated,swarm]")
    isolated, swarm = summary["arms"]["isolated"], summary["arms"]["swarm"]
    assert isolated["diverged"]["device"] == 3
    stopped = isolated["diverged"]["round"]
    assert 2 < stopped < 80
    assert isolated["params_sha256"] is None
    assert isolated["rounds"] == stopped - 1
    assert swarm["diverged"] is None
    assert swarm["rounds"] == 80
    records = logged(tmp_path / "run")
    assert [r["round"] for r in records if r["arm"] == "isolated"] == list(range(stopped)), (
        "what was logged stays"
    )
    assert [r["round"] for r in records if r["arm"] == "swarm"] == list(range(81))
    assert summary["gap_closed"] is None
    assert "isolated" in summary["gap_closed_reason"]
    said = " ".join(capsys.readouterr().out.split())
    assert (
        f"isolated: device 3 diverged (not finite, or a loss beyond all measure) in round {stopped}"
        in said
    )
    assert "nan" not in (tmp_path / "run" / "summary.json").read_text().lower()


def test_a_run_in_which_every_arm_diverges_still_ends(tmp_path: Path) -> None:
    summary = run(
        tmp_path / "run", "scenario.arms=[swarm,isolated]", "data=linear_regression", "partition=natural", "model=softmax",
        "optimizer.lr=100.0", "rounds=30",
    )  # fmt: skip
    for arm in summary["arms"].values():
        assert arm["diverged"]["round"] >= 1
        assert arm["params_sha256"] is None
    assert summary["gap_closed"] is None


def test_a_rate_of_a_million_ends_the_arm_and_writes_no_infinity(tmp_path: Path) -> None:
    """Parameters stay finite, but their distances overflow, and the loss is beyond all measure."""
    summary = run(tmp_path / "run", "optimizer.lr=1000000.0", "rounds=30")
    assert summary["arms"]["swarm"]["diverged"]["round"] >= 1
    assert "Infinity" not in (tmp_path / "run" / "metrics.jsonl").read_text()


# --- what the summary says can be recomputed ------------------------------------------------------


def test_the_summary_follows_from_the_last_checkpoint(tmp_path: Path) -> None:
    """Hash, accuracies, losses, majority vote, consensus model and distance: each from the rows by
    plain PyTorch.
    """
    options = (
        "scenario.arms=[swarm,isolated]",
        "rounds=6",
        "partition=pathological",
        "optimizer.lr=0.2",
        "engine.block=5",
        "evaluate.label=1",
    )
    summary = run(tmp_path / "run", *options)
    ready = PreparedRun.prepare(Settings.parse(config(*options)))
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    data, test = ready.dataset, ready.dataset.test
    x, y = torch.as_tensor(data.x[test]), torch.as_tensor(data.y[test])
    for name, facts in summary["arms"].items():
        newest = sorted((tmp_path / "run" / "checkpoints" / name).glob("round_*.safetensors"))[-1]
        x_NP = load_file(newest)["x"]
        assert facts["params_sha256"] == params_sha256(x_NP.numpy())
        accuracy, own, loss, of_label, votes = [], [], [], [], np.zeros((len(y), 10), int)
        for device, row in enumerate(x_NP):
            with torch.no_grad():
                out = module_of(row, e.model.module())(x)
            right = (out.argmax(1) == y).double().numpy()
            votes[np.arange(len(y)), out.argmax(1)] += 1
            accuracy.append(right.mean())
            of_label.append(right[y.numpy() == 1].mean())
            loss.append(torch.nn.functional.cross_entropy(out, y).item())
            held = data.y[ready.split.of(device)]
            weight_C = (
                np.bincount(held, minlength=10)
                / len(held)
                / (np.bincount(y, minlength=10) / len(y))
            )
            # each test sample weighted by how much commoner its label is here
            own.append((right * weight_C[y]).mean())
        columns = {
            "accuracy": accuracy,
            "own_accuracy": own,
            "loss": loss,
            "label_accuracy": of_label,
        }
        table = swarm.load(tmp_path / "run").final_devices(name)
        for key, each in columns.items():
            assert table[key].to_list() == pytest.approx(each, abs=1e-5), key
            assert facts[f"{key}_mean"] == pytest.approx(np.mean(each), abs=1e-5), key
            assert facts[f"{key}_min"] == pytest.approx(np.min(each), abs=1e-5), key
            assert facts[f"{key}_p10"] == pytest.approx(np.quantile(each, 0.1), abs=1e-5), key
        # of equally many votes each label counts its share
        most = votes == votes.max(1, keepdims=True)
        shared = (most[np.arange(len(y)), y] / most.sum(1)).mean()
        assert facts["ensemble_accuracy"] == pytest.approx(shared, abs=1e-9)
        mean_P = x_NP.double().mean(0)
        with torch.no_grad():
            out = module_of(mean_P.float(), e.model.module())(x)
        assert facts["consensus_accuracy"] == pytest.approx(
            (out.argmax(1) == y).double().mean().item(), abs=1 / len(y) + 1e-9
        )
        knows = (out.argmax(1) == y).double()[y == 1].mean().item()
        assert facts["consensus_label_accuracy"] == pytest.approx(
            knows, abs=1 / int((y == 1).sum()) + 1e-9
        )
        distance = (x_NP.double() - mean_P).square().sum(1).mean().sqrt().item()
        assert facts["consensus_distance"] == pytest.approx(distance, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("evaluate.label=10",),
            r"evaluate\.label=10: must be null or one of the 10 labels of the test samples, 0 to 9",
        ),
        (
            ("evaluate.label=1", "data=linear_regression", "partition=iid"),
            r"evaluate\.label=1: must be null with numeric",
        ),
    ],
)
def test_a_label_that_the_data_do_not_have_is_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*options)


def test_a_label_is_known_to_its_holder_first_and_then_to_the_others() -> None:
    ready = prepared(
        "partition=rare", "partition.label=4", "evaluate.label=4", "devices=8", "topology=ring", "model=softmax",
        "rounds=60", "optimizer.lr=1.0", "train.batch=4", "train.local_steps=null", "train.local_epochs=1",
    )  # fmt: skip
    holder = int(ready.split.sizes_N.argmax())
    with Simulation(
        ready.experiment(ready.arms[0], ready.arms[0].variants[0]), ready.engine
    ) as running:
        seen = [r.devices["label_accuracy"] for r in running.records(60) if r.devices is not None]
    first_N = [
        next((i for i, each in enumerate(seen) if each[d] >= 0.5), len(seen)) for d in range(8)
    ]
    assert first_N[holder] < min(n for d, n in enumerate(first_N) if d != holder)
    assert max(first_N) < len(seen), "in the end all know it"
