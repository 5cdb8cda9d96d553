"""Audits of runs: what a swarm gives away of samples that it has learnt from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import swarm
from run_swarm import main
from swarm.common.errors import ConfigError
from swarm.data.dataset import DeviceSplit
from swarm.experiments.audit.swarms import FINAL, MESSAGE, first_messages, halves, play, restricted
from swarm.experiments.resolved import with_lr
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.experiment import Experiment
from tests.support import experiment, final_rows, prepared, run

HEART = ("devices=4", "topology=ring", "partition=iid", "data.test=0.6", "data.validation=0.2", "rounds=40",
         "train.local_steps=5", "train.batch=20", "optimizer.lr=0.5", "evaluate.every=100",
         "checkpoint.every=0")  # fmt: skip
FEW = ("devices=4", "topology=ring", "partition=iid", "rounds=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of devices that have learnt a little by heart, alone and together."""
    place = tmp_path_factory.mktemp("audit") / "run"
    run(place, *HEART, "scenario.arms=[swarm,isolated]")
    return place


def of(table: pd.DataFrame, seen: str, attack: str) -> pd.Series:
    return table[(table["seen"] == seen) & (table["attack"] == attack)].iloc[0]


def test_what_is_learnt_by_heart_is_found(folder: Path) -> None:
    told: list[str] = []
    found = swarm.audit(folder, shadows=4, say=told.append)
    assert (found.arm, found.samples, found.shadows, found.epsilon) == ("swarm", 358, 4, None)
    assert told[-1] == "6 of 6 swarms"
    assert set(found.table["seen"]) == {MESSAGE, FINAL}
    sent, kept = (of(found.table, seen, "lira") for seen in (MESSAGE, FINAL))
    assert sent["auc_low"] > 0.5
    assert sent["auc"] > kept["auc"]  # what others have mixed in hides a device's own samples
    assert of(found.table, MESSAGE, "threshold")["auc"] < sent["auc"]
    assert sent["tpr_1"] > 0.02
    assert np.isnan(sent["tpr_01"])  # 358 others are too few
    again = swarm.audit(swarm.load(folder), shadows=4)
    pd.testing.assert_frame_equal(found.table, again.table)
    assert "message" in str(found)


def test_devices_alone_send_nothing(folder: Path) -> None:
    found = swarm.audit(folder, shadows=4, arm="isolated")
    assert set(found.table["seen"]) == {FINAL}
    assert of(found.table, FINAL, "lira")["auc_low"] > 0.5


@pytest.mark.parametrize(
    ("privacy", "seen"),
    [("sample_level", MESSAGE), ("sample_level", FINAL), ("device_level", MESSAGE)],
)
def test_noise_hides_members(privacy: str, seen: str, tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting")
    noise = (f"privacy={privacy}", "privacy.noise_multiplier=4", "privacy.clip_norm=0.5")
    run(tmp_path / "run", *HEART, *noise, "rounds=10")
    found = swarm.audit(tmp_path / "run", shadows=4)
    assert found.epsilon is not None
    row = of(found.table, seen, "lira")
    assert row["auc_low"] < 0.52
    assert row["auc_high"] > 0.48


def test_halves_are_of_each_device_and_make_up_the_whole() -> None:
    split = DeviceSplit.group([0] * 6 + [2] * 5 + [1] * 2, 3)
    inside = halves(split, 0, 0)
    assert np.bincount(split.device_S[inside]).tolist() == [3, 1, 3]
    assert not (halves(split, 0, 1) == inside).all()
    assert not (halves(split, 1, 0) == inside).all()
    kept = restricted(split, inside)
    assert kept.sizes_N.tolist() == [3, 1, 3]
    assert set(kept.of(2)) < set(split.of(2))
    with pytest.raises(ConfigError, match=r"^samples of a device=1: device 1 has 1, of which half"):
        restricted(DeviceSplit.group([0, 0, 1], 2), np.array([True, False, False]))


def test_a_swarm_learns_from_its_half_only() -> None:
    """Whatever the other samples are, the swarm has the same losses on its own."""
    ready = prepared(*FEW)
    arm, settings = ready.arms[0], ready.arms[0].first
    found = play(ready, arm, settings, 2)
    x = ready.dataset.x.copy()
    x[ready.split.sample[~found.inside_A]] = 0.25
    ready = replace(ready, dataset=replace(ready.dataset, x=x))
    again = play(ready, arm, settings, 2)
    for seen in (MESSAGE, FINAL):
        a, b = found.loss_A[seen], again.loss_A[seen]
        assert (a[found.inside_A] == b[found.inside_A]).all()
        assert (a[~found.inside_A] != b[~found.inside_A]).any()
    other = play(ready, arm, settings, 3)
    assert (other.inside_A == ~found.inside_A).all()
    assert (other.loss_A[FINAL] != again.loss_A[FINAL]).any()


def test_messages_are_what_neighbours_hear() -> None:
    """Mixed with the weights of the links they are the models after the round; a transform is in
    them."""
    sent_NP = first_messages(experiment(*FEW))[1].double().numpy()
    mixed = final_rows(prepared(*FEW))
    weights = np.full((4, 4), 1 / 3)  # Metropolis, on a ring of four
    weights[[0, 1, 2, 3], [2, 3, 0, 1]] = 0
    np.testing.assert_allclose(weights @ sent_NP, mixed, atol=1e-6)
    noisy_NP = first_messages(experiment(*FEW, "transforms=[noise]"))[1].double().numpy()
    assert (noisy_NP != sent_NP).mean() > 0.9
    start_NP, _ = first_messages(experiment(*FEW))
    assert torch.equal(start_NP, start_NP[:1].expand(4, -1))


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (("protocol=choco", "protocol.gamma=1"), False),
        (("protocol=fedavg", "topology=none"), True),
        (("protocol=fedavg", "topology=none", "secure_sum=bonawitz"), False),
        (("protocol=fedavg", "topology=none", "share=['1.*']"), False),
    ],
    ids=["differences", "server", "masked", "parts"],
)
def test_messages_that_are_no_models_are_left_out(words: tuple[str, ...], there: bool) -> None:
    ready = prepared(*(word for word in FEW if "topology" not in word), "topology=ring", *words)
    settings = with_lr(ready.arms[0].variants[0], 0.1)
    assert (MESSAGE in play(ready, ready.arms[0], settings, 0).loss_A) is there


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shadows": 3}, r"^shadows=3: must be an even number from 4 on"),
        ({"shadows": "8"}, r"^shadows=8: must be an even number from 4 on"),
        ({"shadows": 2}, r"^shadows=2: must be an even number from 4 on"),
        ({"arm": "fedavg"}, r"^arm=fedavg: must be one of swarm, isolated"),
    ],
)
def test_what_cannot_be_audited(settings: dict[str, object], said: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        swarm.audit(folder, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("update=online", "train.batch=2"), r"^update=online: must be epochs: an audit asks"),
        (("data=linear_regression",), r"^data=linear_regression: must be data with classes"),
    ],
)
def test_runs_that_cannot_be_audited(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    run(tmp_path / "run", *FEW, *words)
    with pytest.raises(ConfigError, match=said):
        swarm.audit(tmp_path / "run", 4)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = tmp_path / "audit.csv"
    assert main(["audit", str(folder), "--shadows", "4", "--csv", str(csv)]) == 0
    shown = capsys.readouterr().out
    assert "swarm: 358 samples, 4 shadow swarms" in shown
    assert len(pd.read_csv(csv)) == 6
    for wrong, said in (
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([str(folder), "--shadows", "5"], "error: shadows=5: must be an even number from 4 on"),
        ([str(folder), "--csv", str(tmp_path)], "must be a file in a folder that exists"),
    ):
        assert main(["audit", *wrong]) == 2
        assert said in capsys.readouterr().err


def test_each_swarm_has_draws_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the noise of the audited swarms, shadows would tell their samples in spite of it."""
    seeds: list[int] = []
    start = LocalEngine.start

    def started(engine: LocalEngine, experiment: Experiment) -> None:
        seeds.append(experiment.settings.seed)
        start(engine, experiment)

    monkeypatch.setattr(LocalEngine, "start", started)
    ready = prepared(*FEW)
    for number in range(4):
        play(ready, ready.arms[0], ready.arms[0].first, number)
    assert len({*seeds, ready.settings.seed}) == 5
