"""YAML by libyaml is what PyYAML reads and writes, and no file ends the process."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.common.system import paths, yaml_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read_by_both(value: Any) -> None:
    text = yaml_text.dump(value)
    assert yaml_text.load(text) == value
    assert yaml.safe_load(text) == value


def test_the_files_of_conf_are_read_alike() -> None:
    for file in paths.conf().rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        assert yaml_text.load(text) == yaml.safe_load(text), file


@pytest.mark.parametrize("opening", ["- ", "? "])
def test_what_is_nested_too_deeply_is_an_error_and_no_end(opening: str) -> None:
    """libyaml's own composer overflows the stack here, which no ``except`` catches."""
    with pytest.raises((RecursionError, yaml.YAMLError)):
        yaml_text.load(opening * 200_000)


def test_no_object_is_made() -> None:
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        yaml_text.load("!!python/object/apply:os.getcwd []")
