"""Settings from ``SWARM_OVERRIDES``: as if typed, said, recorded; never for another folder's run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import swarm
from swarm.cli.environment import VARIABLE, with_environment
from swarm.config.composing.compose import Composer
from tests.cli.conftest import SMALL, Command, FakeRunner


def test_they_take_the_place_of_typed_ones_and_are_said(
    command: Command, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_OVERRIDES", "devices=5 'train.loss=mse' topology=ring")
    done = command("devices=7", "rounds=3", "topology=torus")
    assert done.code == 0
    assert "SWARM_OVERRIDES adds: devices=5 train.loss=mse topology=ring\n" in done.err
    ((cfg, _),) = runner.of("run")
    assert (cfg.devices, cfg.rounds, cfg.train.loss) == (5, 3, "mse")
    assert cfg.topology._target_.endswith("Ring")


def test_the_run_records_them_among_the_typed_words(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_OVERRIDES", "rounds=1")
    words = [word for word in SMALL if not word.startswith("hydra")]
    assert command(*words, "hydra.run.dir=run").code == 0
    assert swarm.load("run").config["rounds"] == 1
    recorded = json.dumps(json.loads(Path("run/overrides.json").read_text()))
    assert "rounds=1" in recorded
    assert "rounds=3" not in recorded


def test_a_sweep_has_one_value_for_what_they_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_OVERRIDES", "seed=4")
    words = with_environment(["seed=range(0,5)", "topology=ring,torus"])
    with Composer() as composer:
        jobs = [named for _, named in composer.jobs(words)]
    assert jobs == [{"topology": "topology=ring"}, {"topology": "topology=torus"}]


def test_without_them_nothing_is_said(command: Command, runner: FakeRunner) -> None:
    assert "SWARM_OVERRIDES" not in command("devices=7").err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("devices", "SWARM_OVERRIDES: devices: settings are written KEY=VALUE"),
        ("devices=5 'x", "a quote is not closed"),
        ("resume=first", "must not have resume="),
        ("devises=5", "devises"),
    ],
)
def test_what_cannot_be_read_is_refused(
    given: str, said: str, command: Command, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_OVERRIDES", given)
    done = command("rounds=3")
    assert (done.code, done.new) == (2, [])
    assert said in done.err
    assert runner.of("run") == []


def test_a_run_that_is_resumed_keeps_its_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "rounds=2 tracker=none")
    typed = ["resume=outputs/run", "engine=ray"]
    assert with_environment(typed) == typed
    assert "left out" in capsys.readouterr().err
