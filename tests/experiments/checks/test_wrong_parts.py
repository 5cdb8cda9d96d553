"""What is wrong with a partition or a metric is said of it, and not of our code or of nobody."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.common.errors import ConfigError
from tests.support import config

FILE = Path(__file__).with_name("wrong_parts.py")
PARTITIONS: list[tuple[str, dict[str, Any], str]] = [
    (
        "Forgets",
        {},
        r"has no devices, which the constructor of Partition sets; its __init__ must call super",
    ),
    (
        "Keyless",
        {},
        r"its assign\(\) takes 3 positional arguments but 4 were given; it is called as"
        r" Partition\.assign\(y_S, owner_S, keys\) \(.*wrong_parts\.py, line \d+\)$",
    ),
    ("Deals", {"how": "floats"}, "its assign raises ValueError: device_S must be a whole number"),
    ("Deals", {"how": "truths"}, r"for each sample, and is bool numbers of shape \[\d+\]"),
    ("Deals", {"how": "twice"}, "gives device 0 a sample twice; it may have it once$"),
]
WORDS: list[tuple[str, Any, str]] = [
    ("better", "up", "its better is 'up'; it must be higher, lower or None"),
    ("main", "scores", r"its main is 'scores'; .* \(did you mean score\?\)"),
    ("target_kind", "class", r"its target_kind is 'class'; .* \(did you mean classes\?\)"),
    ("surfaces", ["tabel"], r"'tabel' of its surfaces is unknown; .* \(did you mean table\?\)"),
    ("surfaces", "table", r"its surfaces is 'table'; it must be a tuple such as \('table',\)"),
    ("on_page", ["avg"], "'avg' of its on_page is unknown; valid: mean, min, p10"),
    ("unit", 5, "its unit is 5; it must be a text"),
]


def settings(section: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    cfg = config(f"plugins=[{FILE}]")
    node: Any = {"_target_": f"wrong_parts.{name}", **options}
    return {**cfg, section: ["standard", node] if section == "metrics" else node}


@pytest.mark.parametrize(("name", "options", "said"), PARTITIONS)
def test_a_partition_is_told_what_it_lacks(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        swarm.check(settings("partition", name, options))
    assert str(caught.value).startswith(f"partition=wrong_parts.{name}: ")
    assert caught.value.exit_code == 2


def test_what_every_class_of_its_kind_has_to_set_is_named() -> None:
    said = r"^delay=wrong_parts\.Slow: has no longest, which every Delay has to set \(.*, line \d+"
    with pytest.raises(ConfigError, match=said):
        swarm.check(settings("delay", "Slow", {}))


@pytest.mark.parametrize(("attribute", "word", "said"), WORDS)
def test_a_word_that_a_metric_says_of_itself_is_one_that_is_known(
    attribute: str, word: Any, said: str
) -> None:
    options = {"name_of": attribute, "word": word}
    with pytest.raises(ConfigError, match=rf"^metrics=wrong_parts\.Says: {said}"):
        swarm.check(settings("metrics", "Says", options))


def test_so_are_those_of_its_columns() -> None:
    said = r"^metrics=wrong_parts\.Says: its column says_mean's better is 'more'; it must be higher"
    with pytest.raises(ConfigError, match=said):
        swarm.check(settings("metrics", "Says", {"column": True}))
    said = r"'pages' of its column says_mean's shown is unknown; .* \(did you mean page\?\)"
    with pytest.raises(ConfigError, match=said):
        swarm.check(settings("metrics", "Says", {"shown": ["pages"]}))
    swarm.check(settings("metrics", "Says", {}))


def test_what_only_a_column_says_is_a_metrics_own_to_use() -> None:
    swarm.check(settings("metrics", "Says", {"name_of": "shown", "word": 3}))


def test_numbers_that_no_record_holds_are_told() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        swarm.check(settings("metrics", "Endless", {}))
    said = [str(one.message) for one in caught]
    assert any(text.startswith("metrics: says_mean, consensus_says had no finite") for text in said)
    assert not any("encountered" in text for text in said)


def test_what_nobody_promised_is_a_fault_of_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours keeps its traceback."""
    loading = "swarm.experiments.run_data.Partition.split"
    monkeypatch.setattr(loading, lambda part, *_: part.no_such_attribute)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        swarm.check(settings("partition", "Deals", {"how": "twice"}))


def test_words_of_the_command_line_are_no_configuration() -> None:
    with pytest.raises(
        ConfigError, match=r"^cfg=\[devices=4\]: must be a mapping of settings; wor"
    ):
        swarm.check(["devices=4"])
    with pytest.raises(ConfigError, match=r"^cfg=devices=4: must be a mapping"):
        swarm.check("devices=4")
