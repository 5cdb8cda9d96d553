"""What a message calls a plug-in: what a user types to choose it."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from swarm.common.errors import ConfigError
from swarm.common.system import paths
from swarm.config.build import option
from swarm.config.choices import choice, choices_as_typed
from swarm.config.composing.conf_files import keys_of

OPTIONS = [
    (file.parent.name, file.stem)
    for file in sorted(paths.conf().glob("*/*.yaml"))
    if "_target_" in keys_of(file)
]


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_option_is_called_by_its_own_name(group: str, name: str) -> None:
    node = OmegaConf.to_container(OmegaConf.load(paths.conf() / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    assert choice(group, {str(key): value for key, value in node.items()}) == name


@pytest.mark.parametrize(
    ("group", "name", "other"),
    [
        ("topology", "file", {"path": "mine.json"}),
        ("topology", "file", {"path": "mine.json", "directed": True, "max_mib": 1.0}),
        ("data", "text", {"path": "mine.parquet"}),
        ("data", "text", {"path": "mine.parquet", "context": 8, "owners": 3}),
        ("data", "table", {"path": "mine.csv", "sep": ";"}),
        ("data", "idx", {"path": "mine", "limit": 100}),
        ("optimizer", "sgd", {"lr": 0.1, "momentum": 0.5}),
        ("optimizer", "adam", {"weight_decay": 0.1}),
    ],
)
def test_an_option_with_keys_of_ones_own_is_called_as_its_class_is(
    group: str, name: str, other: dict[str, Any]
) -> None:
    """Others of the same class may differ from it in as many keys; they come earlier or later in
    the alphabet."""
    assert choice(group, {**option(group, name), **other}) == name


def test_an_option_that_differs_in_fewer_keys_comes_before_the_one_called_as_the_class() -> None:
    zoo = {**option("topology", "zoo"), "path": "fetched:topologies/topozoo/Abilene.json"}
    assert choice("topology", zoo) == "zoo"
    assert choice("optimizer", {**option("optimizer", "momentum"), "lr": 0.1}) == "momentum"


def test_a_class_that_no_option_names_is_called_by_its_path() -> None:
    assert choice("topology", {"_target_": "mine.Star", "n": 3}) == "mine.Star"


def test_an_error_about_a_section_shows_what_was_typed() -> None:
    node = {**option("topology", "file"), "path": "mine.json"}
    said = pytest.raises(ConfigError, match=r"^topology=file: must be a graph$")
    with said, choices_as_typed({"topology": node}):
        raise ConfigError("topology", node["_target_"], "must be a graph")
