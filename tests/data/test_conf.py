"""The yaml of every source and partition: all options shown, buildable, and usable as it stands."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.config.build import build
from swarm.data.dataset import Source
from swarm.data.generated.digits import Digits
from swarm.data.partition import Natural, Partition
from swarm.data.validation import validate

CONF = Path(__file__).parents[2] / "conf"
DATA, PARTITION = (sorted((CONF / group).glob("*.yaml")) for group in ("data", "partition"))
DATA = [file for file in DATA if file.stem != "custom"]  # its class is the user's


@pytest.mark.parametrize("file", DATA, ids=lambda file: file.stem)
def test_data_yaml(file: Path) -> None:
    node = yaml.safe_load(file.read_text())
    if "path" in node:
        with pytest.raises(ConfigError, match=r"data\.path=|path="):
            build(
                node | {"path": node["path"] and "/nowhere"}, Source, "data", devices=10, seed=0
            ).load()
        node["path"] = "/nowhere"
    source = build(node, Source, "data", devices=10, seed=0)
    assert set(node) - {"_target_"} == set(inspect.signature(type(source)).parameters) - {
        "devices",
        "seed",
    }
    if "path" not in node:
        validate(source.load())


@pytest.mark.parametrize("file", PARTITION, ids=lambda file: file.stem)
def test_partition_yaml(file: Path) -> None:
    node = yaml.safe_load(file.read_text())
    rule = build(node, Partition, "partition", devices=10, seed=0)
    assert set(node) - {"_target_"} == set(inspect.signature(type(rule)).parameters) - {"devices"}
    if not isinstance(rule, Natural):
        assert rule.split(Digits().load(), Keys(0, "partition")).devices == 10


def test_options_are_checked_by_name_and_type() -> None:
    node = yaml.safe_load((CONF / "partition" / "dirichlet.yaml").read_text())
    for change, message in [
        ({"alpha": -1.0}, r"partition\.alpha=-1: must be at least 0\.0001"),
        ({"alpha": "small"}, r"partition\.alpha=small"),
        ({"alhpa": 1.0}, r"partition\.alhpa"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build(node | change, Partition, "partition", devices=10, seed=0)
    assert build(node | {"alpha": 1}, Partition, "partition", devices=10, seed=0)
