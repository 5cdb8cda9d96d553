"""The public API as a notebook uses it: part of a configuration in, numbers and predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swarm
from run_swarm import main
from swarm.config.composing.partial import complete
from swarm.config.settings import plain

WORDS = ["devices=6", "topology=ring", "rounds=2", "model=softmax", "optimizer.lr=0.1",
         "tracker=none", "report=false", "scenario.arms=[swarm,centralised]"]  # fmt: skip
PART: dict[str, Any] = {
    "devices": 6, "topology": "ring", "rounds": 2, "model": "softmax", "optimizer": {"lr": 0.1},
    "tracker": "none", "report": False, "scenario": {"arms": ["swarm", "centralised"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("api") / "run"
    swarm.run(overrides=WORDS, folder=place)
    return place


def test_a_part_of_a_configuration_is_the_same_as_what_would_be_typed() -> None:
    assert complete(PART) == complete(None, WORDS) == plain(swarm.compose(WORDS))


def test_a_whole_configuration_is_taken_as_it_is() -> None:
    whole = {**plain(swarm.compose(WORDS)), "seed": 7}
    assert complete(whole) is not None
    assert complete(whole) == whole


def test_a_section_with_a_target_takes_the_place_of_the_default() -> None:
    mine = {"_target_": "swarm.communication.topology.regular.Ring"}
    assert complete({"topology": mine})["topology"] == mine


def test_overrides_and_a_mapping_go_together() -> None:
    found = complete({"network": {"drop": 0.25}}, ["network.symmetric=true", "network.drop=0.5"])
    assert (found["network"]["drop"], found["network"]["symmetric"]) == (0.25, True)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"topolgy": "ring"}, r"^topolgy=ring: no such key \(did you mean topology\?\)"),
        ({"topology": "rong"}, r"^topology=rong: no such option \(did you mean ring\?\)"),
        ({"network": 3}, r"^network=3: must be a mapping of keys to values"),
        ({"network": {"loss": 0.1}}, r"^network\.loss=0\.1: is called network\.drop now"),
        ({"devices": "many"}, r"^devices=many: must be a whole number"),
        ({"model": {"hidden": "wide"}}, r"^model\.hidden=wide: must be a list"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, part: dict[str, Any], said: str
) -> None:
    with pytest.raises(swarm.ConfigError, match=said):
        swarm.run({**part, "tracker": "none"}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_is_needed() -> None:
    with pytest.raises(swarm.ConfigError, match="must be a folder, a new or an empty one"):
        swarm.run(PART)


def test_a_run_and_its_result_are_shown_in_a_line(folder: Path) -> None:
    run = swarm.load(folder)
    assert repr(run) == f"<run {str(folder)!r}: finished, 2 rounds; swarm, centralised>"
    summary = {"arms": {"swarm": {}}}
    assert repr(swarm.Result(folder, summary)) == f"<result in {str(folder)!r}: swarm>"


@pytest.mark.parametrize("arm", ["swarm", "centralised"])
def test_predictions_have_the_accuracy_that_the_run_has_measured(folder: Path, arm: str) -> None:
    run = swarm.load(folder)
    assert isinstance(run, swarm.LoadedRun)
    x, y = run.dataset("test")
    rows = run.final_devices(arm)
    for device, accuracy in zip(rows["device"], rows["accuracy"], strict=True):
        found = run.predict(arm, int(device))
        assert found.shape == (len(y), 10)
        assert (found.argmax(1) == y).mean() == pytest.approx(accuracy, abs=1e-12)
    np.testing.assert_array_equal(run.predict(arm, 0, x[:3]), run.predict(arm, 0)[:3])


def test_splits_are_apart_and_wrong_ones_are_refused(folder: Path) -> None:
    run = swarm.load(folder)
    assert isinstance(run, swarm.LoadedRun)
    sizes = [len(run.dataset(split)[0]) for split in ("train", "validation", "test")]  # type: ignore[arg-type]
    assert sum(sizes) == 1797
    with pytest.raises(swarm.ConfigError, match="split=all: must be train, validation or test"):
        run.dataset("all")  # type: ignore[arg-type]
    with pytest.raises(swarm.ConfigError, match="must be samples of shape"):
        run.predict("swarm", 0, np.zeros((2, 3)))
    with pytest.raises(swarm.ConfigError, match="has the devices 0 to 5"):
        run.predict("swarm", 6)


def test_a_sweep_is_loaded_with_its_intervals(tmp_path: Path) -> None:
    place = tmp_path / "sweep"
    words = ["-m", *WORDS[2:], "devices=6", "topology=ring,complete", "seed=0,1"]
    assert main([*words, f"hydra.sweep.dir={place}"]) == 0
    found = swarm.load(place)
    assert isinstance(found, swarm.SweepResults)
    assert repr(found) == "<sweep over topology: 4 runs, 2 combinations>"
    assert set(found.table["topology"]) >= {"ring", "complete"}


def test_the_api_is_listed_and_everything_in_it_is_there() -> None:
    assert set(swarm.__all__) <= set(dir(swarm))
    for name in swarm.__all__:
        assert getattr(swarm, name) is not None
