"""Names of earlier versions: refused with today's name where they are typed, read where they are
saved, and answered with a warning where they are imported."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import swarm
from swarm.common.errors import ConfigError
from swarm.config import aliases
from swarm.config.composing.compose import compose
from swarm.simulation import checkpoint
from tests.support import config, options

TABLE: dict[str, dict[str, Any]] = yaml.safe_load(aliases.TABLE.read_text(encoding="utf-8"))
OLD_RUN = Path(__file__).parent / "run_of_before_the_house"
OPTIONS = [(group, *pair) for group, names in TABLE["options"].items() for pair in names.items()]
CLASSES = [(home, *pair) for home, names in TABLE["names"].items() for pair in names.items()]


@pytest.mark.parametrize(("old", "new"), TABLE["keys"].items())
def test_an_old_key_is_refused_by_the_name_of_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=rf"is called {new} now; write {new}=3$"):
        compose(["topology=epidemic", "update=online", "replay=ring", f"{old}=3"])


@pytest.mark.parametrize(("group", "old", "new"), OPTIONS)
def test_an_old_option_is_refused_by_the_name_of_the_new_one(
    group: str, old: str, new: str
) -> None:
    with pytest.raises(ConfigError, match=f"is called {new} now; write {group}={new}$"):
        compose([f"{group}={old}"])
    assert new in options(group)


def test_an_old_group_and_its_option_are_renamed_together() -> None:
    with pytest.raises(ConfigError, match=r"^learn=passes: is called update now; write update=epo"):
        compose(["learn=passes"])
    with pytest.raises(ConfigError, match=r"^learn\.day=3: is called update\.day now"):
        compose(["learn.day=3"])


def test_an_old_key_of_a_mapping_is_refused_too() -> None:
    cfg = config()
    cfg["network"]["loss"] = cfg["network"].pop("drop")
    with pytest.raises(ConfigError, match=r"^network\.loss=0\.0: is called network\.drop now"):
        swarm.run(cfg, "nowhere")


@pytest.mark.parametrize(("home", "old", "new"), CLASSES)
def test_every_new_class_is_there(home: str, old: str, new: str) -> None:
    if home.startswith("scenarios"):
        return
    module = importlib.import_module(home)
    assert hasattr(module, new)
    assert not hasattr(module, old)


OLD_IMPORTS = """
import warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from swarm.protocol.base import Now, Protocol
    from swarm.topology.graph import Graph
    import swarm.wire.top_k
from swarm.communication.protocol import base
from swarm.communication.topology import graph
assert (Now, Protocol, Graph) == (base.RoundInfo, base.Protocol, graph.Graph)
assert swarm.wire.top_k.TopK.__module__ == "swarm.communication.compression.top_k"
assert {w.category for w in said} == {DeprecationWarning}
assert "swarm.protocol.base is now swarm.communication.protocol.base" in map(str, [w.message for w in said])
try:
    import swarm.nonsense
except ModuleNotFoundError as error:
    print(error)
"""


def test_an_old_import_path_gives_what_is_there_today_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OLD_IMPORTS], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("No module named 'swarm.nonsense'\n", "")


@pytest.mark.parametrize(("old", "new"), TABLE["commands"].items())
def test_an_old_command_says_where_it_went(old: str, new: str) -> None:
    words = [sys.executable, "-W", "ignore", "-m", old, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    said = f"error: python -m {old} is now: python run_swarm.py {new}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_every_old_module_of_the_table_can_be_imported() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for old, new in TABLE["modules"].items():
            if old.startswith("swarm.") and "ray" not in old and "prefork" not in old:
                importlib.import_module(new)
                assert aliases.module_of(old) == new


@pytest.mark.parametrize("new", TABLE["keys"].values())
def test_a_name_of_today_is_none_of_before(new: str) -> None:
    assert aliases.key(new) == new


def test_a_saved_config_is_read_in_names_of_today() -> None:
    saved = {
        "learn": {"_target_": "swarm.learn.policy.Passes"},
        "horizon": 9,
        "schedule": {"_target_": "swarm.learn.schedule.Cosine"},
        "network": {"loss": 0.1, "tick": 1.0},
        "scenario": {"_target_": "scenarios.cheap.Cheap", "settings": ["learn=passes", "tune.rounds=2"]},
        "mine": {"_target_": "my.own.Passes", "loss": 1},
    }  # fmt: skip
    assert aliases.current(saved) == {
        "update": {"_target_": "swarm.learning.update.policy.Epochs"},
        "schedule": {"_target_": "swarm.learning.optim.schedule.Cosine", "rounds": 9},
        "network": {"drop": 0.1, "round_seconds": 1.0},
        "scenario": {
            "_target_": "scenarios.compression.Compression",
            "settings": ["update=epochs", "lr_search.rounds=2"],
        },
        "mine": {"_target_": "my.own.Passes", "loss": 1},
    }


def test_a_run_of_an_earlier_version_is_loaded_and_goes_on(tmp_path: Path) -> None:
    """Nearly every renamed key is in it; its rounds, and those that follow, are a fresh run's."""
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(OLD_RUN, old)
    loaded = swarm.load(old)
    assert loaded.config["network"]["drop"] == 0.1
    assert len(loaded.dataset("test")[0])
    text = (OLD_RUN / "config.yaml").read_text()
    (old / "config.yaml").write_text(text.replace("loss: 0.1", "loss: 0.2"))
    with pytest.raises(ConfigError, match=r"was edited: it has network\.drop=0\.2, and the run"):
        swarm.resume(old, {"rounds": 6})
    shutil.copy(OLD_RUN / "config.yaml", old)
    swarm.resume(old, {"rounds": 6})
    swarm.run({**loaded.config, "rounds": 6, "resume": None}, new)
    arrays = [checkpoint.read(run / "checkpoints" / "swarm", 6, None).arrays for run in (old, new)]
    assert arrays[0].keys() == arrays[1].keys()
    for name, array in arrays[0].items():
        np.testing.assert_allclose(array.numpy(), arrays[1][name].numpy(), rtol=1e-4, atol=1e-6)
