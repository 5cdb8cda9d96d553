"""A plug-in that draws from a global generator is told what to draw from instead, and that is
there: for each kind the expression of the message is tried where the message says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.experiments import runner
from swarm.experiments.checks.check_plugin import IMAGES, KINDS, NEEDS, SMALL, STREAM, _composed
from tests.experiments.checks import drawing

FILE = Path(drawing.__file__)
OWN = "an option of its own"
SEED = "seed that a constructor with the parameter seed is given"
# what is drawn from what, by the plug-in: its section, and what the message says after that
SAID = {
    **dict.fromkeys(
        ("Loads", "Links", "Talks", "Online", "Down", "Wakes", "Machines", "Drifts", "Tells"), SEED
    ),
    "Measures": SEED,
    "Deals": "assign",
    "Combines": "combine",
    "Stacks": "combine_stack",
    "Before": "__call__",
    "Sends": "__call__",
    "Tricks": "message",
    "Changes": "__call__",
    "Turns": "__call__",
    "Packs": "__call__",
    "Late": "seconds",
    "Aims": "worth",
    "Keeps": "places",
    "Hides": "draw_noise",
    "Sums": "group",
    "Compares": "arms",
    "Drives": "start",
    "Follows": "a constructor with the parameter config",
    **dict.fromkeys(("Poisons", "Plans", "Learns", "Steps", "Slows", "Costs"), OWN),
}
MORE = {"Keeps": (*STREAM, "replay=ring"), "Follows": ("tracker=none",)}
ADVICE = re.compile(r"; draw (?:from|nothing, and use) (.+), (with|the) (.+) \(.*drawing\.py, line")


def section_of(name: str) -> str:
    kind = getattr(drawing, name)
    return next(section for base, section in KINDS.items() if issubclass(kind, base))


def settings(name: str, how: str) -> dict[str, Any]:
    section = section_of(name)
    needed = IMAGES if section == "augmentation" else NEEDS.get(section, ())
    words = [f"plugins=[{FILE}]", *needed, *MORE.get(name, ()), "seed=5"]
    cfg = _composed(section, f"drawing.{name}", {"how": how}, words, SMALL)
    cfg["plugins"] = [str(FILE)]
    return cfg


def advice(name: str) -> re.Match[str]:
    with pytest.raises(ConfigError) as caught:
        runner.check(settings(name, "globally"))
    text = str(caught.value)
    assert f"=drawing.{name}: its " in text
    assert "draws from Python's global generator" in text
    found = ADVICE.search(text)
    assert found is not None, text
    return found


def test_every_kind_is_here() -> None:
    bases = {base for base in KINDS if base is not torch.nn.Module}
    assert {KINDS[base] for base in bases} == {section_of(name) for name in SAID}


@pytest.mark.parametrize("name", SAID)
def test_what_a_message_advises_is_there(name: str) -> None:
    found = advice(name)
    assert SAID[name] in found[3]
    drawing.FOUND.clear()
    runner.check(settings(name, found[1]))
    drawn = _numbers(drawing_of(name))
    assert drawn.size
    assert ((drawn > 0) & (drawn <= 1)).all()  # 1 where the longest delay is asked for
    if SAID[name] == SEED:
        assert drawing_seed(name) == 5


@pytest.mark.parametrize("name", [name for name, said in SAID.items() if said == OWN])
def test_an_option_called_seed_is_its_own_where_the_run_offers_none(name: str) -> None:
    cfg = settings(name, "self.seed")
    runner.check(_with_seed(cfg, f"drawing.{name}", 3))
    assert drawing_of(name) == 3


def test_a_model_draws_with_torch() -> None:
    with pytest.raises(
        ConfigError, match=r"model=drawing\.Noisy: .*; draw with torch alone, whose"
    ):
        runner.check(settings("Noisy", "globally"))
    runner.check(settings("Noisy", "torch"))


def test_the_method_that_a_message_names_has_what_it_says() -> None:
    """By the names of the base classes, which a reader of the message looks up."""
    for name, said in SAID.items():
        if said in (SEED, OWN) or said.startswith("a constructor"):
            continue
        base = next(
            base
            for base in getattr(drawing, name).__mro__
            if base.__module__.startswith("swarm.") and said in vars(base)
        )
        first = re.match(r"(?:swarm\.common\.rng\.Keys\()?(\w+)", advice(name)[1])
        assert first is not None
        assert first[1] in inspect.signature(getattr(base, said)).parameters


def test_an_attack_that_cannot_be_told_who_is_hostile_is_refused_by_what_it_lacks() -> None:
    """It was refused by a key that nobody had typed, a list of devices."""
    said = r"^attack=drawing\.Deaf: needs a parameter devices: its constructor takes devices and"
    with pytest.raises(ConfigError, match=said):
        runner.check(settings("Deaf", ""))


def _module() -> Any:
    import drawing as loaded  # type: ignore[import-not-found]  # as a run has imported it

    return loaded


def drawing_of(name: str) -> Any:
    return _module().FOUND[name]


def drawing_seed(name: str) -> int:
    return int(_module().SEEDS[name])


def _numbers(found: Any) -> np.ndarray:
    return np.asarray(found.random(3) if isinstance(found, np.random.Generator) else found)


def _with_seed(node: Any, path: str, seed: int) -> Any:
    """The settings with this seed among the options of the plug-in at ``path``."""
    if isinstance(node, dict):
        own = {"seed": seed} if node.get("_target_") == path else {}
        return {key: _with_seed(each, path, seed) for key, each in node.items()} | own
    return [_with_seed(each, path, seed) for each in node] if isinstance(node, list) else node
