"""Whatever is in a file of a run folder, its reader returns a mapping that fits its schema, or
raises one sentence.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.common.errors import ConfigError
from swarm.config.schema import Closed, Schema, read_json, read_yaml, require_seal, sealed
from swarm.results.schemas import (
    Arm,
    ClaimSummary,
    Config,
    Graph,
    Job,
    Prediction,
    Progress,
    Published,
    Record,
    Seconds,
    Summary,
    Sweep,
)
from swarm.results.track.jsonl import read_jsonl
from swarm.simulation.checkpoint.manifest import Manifest

FILES = [
    Progress,
    Manifest,
    Summary,
    Graph,
    Job,
    Sweep,
    ClaimSummary,
    Prediction,
    Seconds,
    Published,
    Config,
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NAMES = st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one, max_size=3)
)


def contents(schema: type[Schema]) -> st.SearchStrategy[Any]:
    """Mappings of the schema's own keys to whatever, beside values of any kind."""
    return VALUES | st.dictionaries(
        st.sampled_from([*schema.model_fields, "else"]), VALUES, max_size=6
    )


@pytest.mark.parametrize("schema", FILES, ids=lambda schema: schema.__name__)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_json_is_a_mapping_or_one_sentence(
    schema: type[Schema], tmp_path: Path, data: st.DataObject
) -> None:
    value = data.draw(contents(schema))
    file = tmp_path / "file.json"
    file.write_text(json.dumps(value))
    try:
        found = read_json(file, schema, "/file.json")
    except ConfigError as error:
        said = str(error)
        fits = False
    else:
        said, fits = "", True
        assert found == value
    assert "\n" not in said
    assert fits or str(file) in said
    assert fits or said.startswith(f"file.json={file}: damaged; ")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.binary(max_size=60) | contents(Config).map(lambda value: yaml.safe_dump(value).encode())
)
def test_any_yaml_is_a_mapping_or_one_sentence(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(data)
    try:
        found: Any = read_yaml(file, Config, "resume")
    except ConfigError as error:
        found = str(error)
    assert isinstance(found, dict) or (str(file) in found and "\n" not in found)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(
        contents(Record).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20),
        max_size=4,
    )
)
def test_any_line_is_a_record_or_a_damaged_one(tmp_path: Path, lines: list[bytes]) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines))
    damaged: list[int] = []
    records = read_jsonl(file, damaged)
    assert len(records) + len(damaged) == len(lines)
    for record in records:
        assert isinstance(record["arm"], str)
        assert isinstance(record["round"], int)
        assert all(isinstance(value, str | int | float | bool | None) for value in record.values())
    if damaged:
        with pytest.raises(ConfigError, match=f"line {damaged[0]}: "):
            read_jsonl(file)


@pytest.mark.parametrize(
    "text", ["!!int ''", "!!timestamp x", "&a [*a]", "? [a]\n: 1", "a: !!python/name:os.system"]
)
def test_what_yaml_itself_stumbles_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: damaged; "):
        read_yaml(tmp_path / "config.yaml", Config, "resume")


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    """A pipe would keep the reader waiting, a device would have no end."""
    os.mkfifo(tmp_path / "graph.json")
    (tmp_path / "summary.json").symlink_to("/dev/zero")
    for name, schema in (("graph.json", Graph), ("summary.json", Summary)):
        with pytest.raises(ConfigError, match="must be a file"):
            read_json(tmp_path / name, schema, "resume")


def test_a_seal_notices_every_change(tmp_path: Path) -> None:
    value = sealed({"a": [1, 2.5, None], "b": {"c": "x"}})
    require_seal(json.loads(json.dumps(value)), tmp_path, "resume")
    for changed in (
        {**value, "a": [1, 2.5]},
        {**value, "d": 1},
        {"a": value["a"], "seal": value["seal"]},
        {"a": 1},
    ):
        with pytest.raises(ConfigError, match="`seal` is not the hash"):
            require_seal(changed, tmp_path, "resume")


def test_figures_are_numbers_wherever_arms_stand() -> None:
    with pytest.raises(ValueError, match="`accuracy_mean` must be a number"):
        Arm.model_validate({"accuracy_mean": "high"})
    assert issubclass(Progress, Closed)
    assert issubclass(Manifest, Closed)


def test_aliases_that_stand_for_millions_of_values_are_refused(tmp_path: Path) -> None:
    """Before they are written out one by one."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="damaged; must be one YAML mapping"):
        read_yaml(tmp_path / "config.yaml", Config, "resume")
