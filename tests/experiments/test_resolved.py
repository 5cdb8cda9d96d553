"""A configuration is composed once, parsed once, and what runs it is built once."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import swarm
from run_swarm import main
from swarm.common.errors import ConfigError
from swarm.config.build import option
from swarm.config.composing.compose import Composer
from swarm.config.settings import Settings
from swarm.experiments.resolved import resolve
from swarm.experiments.runs.lr_search import search_lr
from swarm.learning.optim.optimizer import SGD
from tests.support import config, prepared

PARTS = """
from swarm.learning.update.policy import Epochs
from swarm.simulation.engine.local import LocalEngine

made = []


class Threes(LocalEngine):
    '''Sets its block size itself, and has no option of that name.'''

    def __init__(self, spare: int = 0) -> None:
        super().__init__()
        self.block = 3
        made.append("engine")


class Wide(LocalEngine):
    def __init__(self, block: int | str = "auto") -> None:
        super().__init__()
        self.block = 4
        made.append("engine")


class Often(Epochs):
    def __init__(self) -> None:
        made.append("policy")
"""
WORDS = ("devices=12", "topology=ring", "rounds=2", "model=softmax", "optimizer.lr=0.1", "tracker=none",
         "report=false", "scenario.arms=[swarm]", "plugins=[counted_parts.py]", "hydra.run.dir=run")  # fmt: skip


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the plug-ins of this file have built, in order; there are options that name them."""
    monkeypatch.chdir(tmp_path)
    Path("counted_parts.py").write_text(PARTS)
    for group, name in (("engine", "Threes"), ("engine", "Wide"), ("update", "Often")):
        Path("mine", group).mkdir(parents=True, exist_ok=True)
        file = Path("mine", group, f"{name.lower()}.yaml")
        file.write_text(yaml.safe_dump({"_target_": f"counted_parts.{name}"}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "counted_parts", raising=False)
    found: list[str] = importlib.import_module("counted_parts").made
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``composed`` and ``parsed``, as often as each happened."""
    found: list[str] = []
    raw, parse = Composer.raw, Settings.parse.__func__  # type: ignore[attr-defined]

    def composing(self: Composer, *given: Any) -> Any:
        found.append("composed")
        return raw(self, *given)

    def parsing(cls: type[Settings], cfg: Any) -> Any:
        found.append("parsed")
        return parse(cls, cfg)

    monkeypatch.setattr(Composer, "raw", composing)
    monkeypatch.setattr(Settings, "parse", classmethod(parsing))
    return found


@pytest.mark.parametrize("engine", ["threes", "wide"])
def test_a_command_composes_and_parses_once_and_builds_engine_and_policy_once(
    made: list[str], read: list[str], engine: str
) -> None:
    assert main(["--config-dir", "mine", f"engine={engine}", "update=often", *WORDS]) == 0
    assert sorted(made) == ["engine", "policy"]
    assert read == ["composed", "parsed"]
    recorded = yaml.safe_load(Path("run/config.yaml").read_text())
    assert recorded["engine"]["block"] == {"threes": 3, "wide": 4}[engine]


def test_so_does_a_run_from_python(made: list[str], read: list[str]) -> None:
    parts = {
        "engine": {"_target_": "counted_parts.Threes"},
        "update": {"_target_": "counted_parts.Often"},
    }
    swarm.run(parts, "run", overrides=[w for w in WORDS if not w.startswith("hydra")])
    assert sorted(made) == ["engine", "policy"]
    assert read == ["composed", "parsed"]


def test_what_was_checked_is_run_as_it_is(made: list[str]) -> None:
    values = {
        **config(*(w for w in WORDS if not w.startswith("hydra"))),
        "engine": {"_target_": "counted_parts.Wide"},
    }
    checked = swarm.check(values)
    swarm.run(checked.settings, "run", checked)
    assert made == ["engine"]


@pytest.mark.parametrize("engine", ["threes", "wide"])
def test_a_run_whose_engine_sets_its_block_size_goes_on(made: list[str], engine: str) -> None:
    assert main(["--config-dir", "mine", f"engine={engine}", *WORDS]) == 0
    made.clear()
    assert main(["resume=run", "rounds=4"]) == 0
    assert made == ["engine"]
    assert json.loads(Path("run/summary.json").read_text())["rounds"] == 4


def test_a_block_size_that_an_engine_does_not_take_is_refused(made: list[str]) -> None:
    engine = {"_target_": "counted_parts.Threes", "block": 5}
    settings = Settings.parse({**config("plugins=[counted_parts.py]"), "engine": engine})
    with pytest.raises(ConfigError, match=r"^engine\.block=5: must be 3, the block size that"):
        resolve(settings)


# --- what auto stands for -------------------------------------------------------------------------


def test_what_is_recorded_says_auto_and_what_is_built_does_not() -> None:
    ready = prepared("optimizer.lr=auto", "lr_search.lrs=[0.2,0.4]", "rounds=1")
    arm = ready.arms[0]
    assert (ready.settings.optimizer["lr"], ready.settings.train.loss) == ("auto", "auto")
    assert (arm.variants[0], arm.rates) == (ready.settings, (0.2, 0.4))
    looked = ready.experiment(arm, arm.first)
    assert (looked.model.optimizer.lr, looked.settings.train.loss) == (0.2, "cross_entropy")
    chosen, facts = search_lr(ready, arm, ready.engine, lambda text: None)
    assert ready.experiment(arm, chosen).model.optimizer.lr == facts["lr"]


def test_numbers_are_learnt_by_their_squared_error() -> None:
    ready = prepared("data=linear_regression", "partition=natural", "model=softmax")
    assert ready.experiment(ready.arms[0], ready.arms[0].first).settings.train.loss == "mse"


def test_a_rate_that_is_not_chosen_gets_no_further_than_the_optimizer() -> None:
    ready = prepared("optimizer.lr=auto", "rounds=1")
    with pytest.raises(ConfigError, match=r"^optimizer\.lr=auto: must be a finite number"):
        ready.experiment(ready.arms[0], ready.settings)
    assert "auto" not in str(SGD.__init__.__annotations__)


def test_a_preset_is_for_claims() -> None:
    settings = Settings.parse(config()).model_copy(update={"preset": "quick"})
    with pytest.raises(ConfigError, match=r"^preset=quick: is for scenarios that judge claims"):
        resolve(settings)


def test_one_actor_a_device_means_blocks_of_one() -> None:
    engine = {**option("engine", "ray"), "actors": "per_device"}
    settings = Settings.parse({**config(), "engine": engine})
    found = resolve(settings)
    assert (found.settings.engine["block"], settings.engine["block"]) == (1, "auto")
    assert resolve(found.settings).settings == found.settings
