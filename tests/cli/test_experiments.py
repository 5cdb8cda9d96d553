"""The bundled experiments, ``+experiment=NAME``: each is composed, checked, and run tiny."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.common.system import paths
from swarm.config.composing import conf_files
from swarm.config.composing.compose import compose
from swarm.config.settings import Settings

from .conftest import Command, FakeRunner

NAMES = sorted(file.stem for file in (paths.conf() / conf_files.EXPERIMENT).glob("*.yaml"))
TINY = ("hydra.mode=RUN", "hydra.run.dir=r", "devices=9", "rounds=2", "evaluate.every=1", "model=softmax",
        "train.batch=4", "train.local_steps=1", "tracker=none", "report=false")  # fmt: skip


@pytest.fixture(autouse=True)
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of fetched data, with a small Fashion-MNIST."""
    folder = tmp_path / "fetched" / "fashion_mnist"
    folder.mkdir(parents=True)
    for part, count in (("train", 800), ("t10k", 60)):
        for file, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            head = np.array([0x0800 + len(shape), *shape], ">i4").tobytes()
            body = (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()
            (folder / f"{part}-{file}-ubyte").write_bytes(head + body)
    monkeypatch.setenv("SWARM_DATA", str(folder.parent))
    return folder


def test_data_that_are_not_fetched_are_asked_for(
    command: Command, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_DATA", str(fetched / "nothing"))
    done = command("+experiment=base_graph_accuracy", "hydra.mode=RUN", "hydra.run.dir=r")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "`python -m swarm.data.fetch fashion_mnist` fetches it" in done.err
    assert not Path("r").exists()


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_checked_and_runs(name: str, command: Command) -> None:
    chosen = f"+experiment={name}"
    settings = Settings.parse(compose([chosen]))
    assert swarm.check(settings).settings.devices == settings.devices
    assert settings != Settings.parse(compose())
    assert len(conf_files.read(conf_files.option_files("experiment")[name]).said) > 50
    averages = settings.scenario["_target_"].endswith("Consensus")  # and has one arm only
    done = command(chosen, *TINY, *([] if averages else ["scenario.arms=[swarm]"]))
    assert done.code == 0, done.err
    facts = json.loads(Path("r/summary.json").read_text())["arms"]
    facts = facts["gossip" if averages else "swarm"]
    assert (facts["rounds"], facts["diverged"]) == (2, None)
    assert json.loads(Path("r/overrides.json").read_text())["overrides"][0] == chosen


def test_there_are_six() -> None:
    assert len(NAMES) >= 6


def test_an_experiment_may_be_a_sweep(command: Command, runner: FakeRunner) -> None:
    """Its words on the command line win over its own."""
    done = command("+experiment=digits_topologies", "seed=3,4", "rounds=7")
    assert (done.code, done.err) == (0, "")
    runs = [(folder.name, cfg.seed, cfg.rounds) for cfg, folder in runner.of("run")]
    assert len(runs) == 4 * 2
    assert runs[1] == ("topology=ring,seed=4", 4, 7)
    assert {cfg.devices for cfg, _ in runner.of("run")} == {36}


def test_python_does_not_run_one_for_many() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.mode=MULTIRUN: makes many runs"):
        swarm.check(overrides=["+experiment=digits_topologies"])
    with pytest.raises(ConfigError, match=r"hydra\.mode=MULTIRUN: makes many runs"):
        swarm.check(overrides=["hydra.sweeper.params.seed=1,2"])
    one = swarm.check(overrides=["+experiment=digits_topologies", "hydra.mode=RUN"])
    assert one.settings.devices == 36
