"""check_plugin finds what a run would take and be wrong with, and lets through what is right."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from swarm.common.errors import ConfigError
from swarm.communication.topology.base import Topology
from swarm.config.plug_ins import load_plugins
from swarm.experiments.checks.check_plugin import ContractError, check_plugin
from swarm.learning.augmentation.flip import Flip

FILE = Path(__file__).with_name("contract_breakers.py")


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> None:
    load_plugins([str(FILE)])


@pytest.mark.parametrize(
    ("name", "options"),
    [("Good", {"step": 3}), ("late", {}), ("Model", {}), ("Model", {"start": "zero"})],
)
def test_what_is_right_passes(name: str, options: dict[str, Any]) -> None:
    assert check_plugin(f"contract_breakers.{name}", **options) is None  # type: ignore[func-returns-value]


def test_an_augmentation_is_tried_on_images() -> None:
    check_plugin(Flip, "devices=4", "topology=ring", "rounds=2", "model=softmax")
    with pytest.raises(
        ConfigError, match=r"^augment=\[flip\]: must be \[\] unless the data are images"
    ):
        check_plugin(Flip, "data=digits")


def test_a_class_will_do_and_settings_are_those_of_the_command_line() -> None:
    good = sys.modules["contract_breakers"].Good
    check_plugin(good, "devices=5", "model=softmax", "data=gaussian", step=2)
    with pytest.raises(
        ConfigError, match=r"^topology\.steps=2: no such key \(did you mean step\?\)"
    ):
        check_plugin(good, steps=2)
    with pytest.raises(ConfigError, match=r"devices=zero"):
        check_plugin(good, "devices=zero")


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    (
        "Wanders",
        {},
        r"gives other numbers when the same run is run again|depends on what was asked before",
    ),
    ("Returns", {}, r"graph\(2\) is not graph\(0\), though its period is 2"),
    ("Deals", {}, r"splits the samples differently the second time: the split must follow from"),
    (
        "Remembers",
        {},
        (
            "where a run goes on from a snapshot: it keeps a state that no checkpoint has|cut into"
            " 4 shards"
        ),
    ),
    ("LooksAround", {}, "cut into 4 shards: a device's result must not depend on the other"),
    ("LooksAroundToo", {}, "packs a device's row differently when other rows stand beside it"),
    ("Drifts", {}, "makes another row of 2 equal rows; it must make the same row"),
    ("Levels", {}, "combines the rows of a device in another way where others are|4 shards"),
    ("Boasts", {}, r"bears 1 hostile rows of 3, and such .* by 3.3e\+05; bears\(\) must return f"),
    ("Boundless", {}, "bears 1 hostile rows of 1; a device's own row is honest, so .* at most 0"),
    ("Halves", {}, r"returns 0.5 from bears\(1\); it must be a number of rows"),
    ("LevelsToo", {}, "mixes the rows of a device in another way where others are|4 shards"),
    ("Doubles", {}, "makes another row of equal rows; it must make the same row"),
    ("Half", {}, r"makes 3 mixtures of 5 rows, and rows\(\) says 5"),
    ("Averages", {}, "cut into 4 shards: a device's result must not depend on the other devices"),
    ("Overwrites", {}, "changes the rows that it is given; it must return new ones"),
    ("NoSmaller", {}, "it must make fewer"),
    ("Jumps", {}, "does not take a first step of a tenth of the length"),
    ("Hurried", {}, "gives other numbers than engine=local does"),
    ("Flickers", {}, "gives other numbers|depends on what was asked before"),
]


@pytest.mark.parametrize(("name", "options", "said"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_a_broken_contract_is_one_sentence_with_file_and_line(
    name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ContractError, match=said) as caught:
        check_plugin(f"contract_breakers.{name}", **options)
    assert isinstance(caught.value, AssertionError)
    assert f"contract_breakers.{name}: " in str(caught.value)
    assert re.search(r"contract_breakers\.py, line \d+\)$", str(caught.value))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Falls", r"its factor returns -\d"),
        ("Shy", r"its record raises OSError: nobody listens .*contract_breakers\.py, line \d+"),
        ("Untitled", "its conditions returns a list; a list of Condition is needed"),
        (
            "NOT_A_PLUGIN",
            (
                r"must be a class that derives from one of"
                r" swarm\.communication\.topology\.base\.Topology, torch\.nn\.Module, "
            ),
        ),
        ("Gone", "there is no Gone in contract_breakers"),
    ],
)
def test_what_a_run_would_refuse_is_refused(name: str, said: str) -> None:
    budget = {"seeds": 5}
    options = {"settings": [], "quick": budget, "full": budget} if name == "Untitled" else {}
    with pytest.raises(ConfigError, match=said):
        check_plugin(f"contract_breakers.{name}", **options)


def test_a_model_that_starts_from_another_place_each_time_is_refused_as_by_a_run() -> None:
    with pytest.raises(ConfigError, match="tried twice with one seed, come to different numbers"):
        check_plugin("contract_breakers.Model", start="numpy")


def unannotated(devices: int):  # type: ignore[no-untyped-def]
    return None


def misannotated() -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    return None


@pytest.mark.parametrize("plugin", [int, dict, Path, ContractError, unannotated, misannotated])
def test_what_is_no_plugin_of_any_kind_is_told_what_would_be(plugin: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        check_plugin(plugin)
    text = str(caught.value)
    assert text.startswith("plugin="), text
    assert text.endswith(
        "swarm.experiments.claims.base.Claim, or a function annotated to return such a class"
    ), text


@pytest.mark.parametrize("plugin", [5, None, Path("x"), len, lambda: None])
def test_an_object_in_a_classs_place_is_told_what_to_give(plugin: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^plugin=.*(give the class itself|a function annotated to return such a class)",
    ):
        check_plugin(plugin)


def test_a_class_that_no_run_could_find_is_refused() -> None:
    class Here(Topology): ...

    with pytest.raises(ConfigError, match="at the top of a module of its own"):
        check_plugin(Here)
