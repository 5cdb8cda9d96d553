"""Cohorts whose devices the table of devices names (``devices: table``)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.simulation.experiment.cohorts.cohorts import Cohorts
from tests.support import prepared, require_same_bits

COHORTS = "cohorts={small: {devices: table, model: {hidden: [16]}}, tiny: {devices: table, model: {hidden: [2]}}}"


def table(folder: Path, text: str) -> str:
    (folder / "devices.csv").write_text(text)
    return f"train.devices={folder / 'devices.csv'}"


def built(*words: str) -> Cohorts:
    ready = prepared("devices=8", *words)
    found = ready.experiment(ready.arms[0], ready.arms[0].first).model.cohorts
    assert found is not None
    return found


def test_a_table_names_the_cohort_of_devices(tmp_path: Path) -> None:
    named = table(tmp_path, "device,cohort,lr\n3,small,0.2\n1,tiny,\n5,,0.3\n6,small,\n")
    cohorts = built(COHORTS, named)
    names = [cohorts.names[c] for c in cohorts.cohort_N]
    assert names == ["own", "tiny", "own", "small", "own", "own", "small", "own"]
    more = COHORTS.replace("cohorts={", "cohorts={half: {devices: 0.5, model: {hidden: [32]}}, ")
    cohorts = built(more, named)
    names = [cohorts.names[c] for c in cohorts.cohort_N]
    assert names.count("half") == 4
    assert np.flatnonzero(np.array(names) == "small").tolist() == [3, 6]


def test_a_table_goes_by_the_names_of_nodes(tmp_path: Path) -> None:
    links = "source,target\n" + "".join(f"n{i},n{(i + 1) % 8}\n" for i in range(8))
    (tmp_path / "links.csv").write_text(links)
    graph = ("topology=file", f"topology.path={tmp_path / 'links.csv'}")
    cohorts = built(COHORTS, table(tmp_path, "device,cohort\nn3,small\nn0,tiny\n"), *graph)
    assert [cohorts.names[c] for c in cohorts.cohort_N[[0, 3, 4]]] == ["tiny", "small", "own"]


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    named = table(tmp_path, "device,cohort,lr\n3,small,0.2\n1,tiny,\n5,,0.3\n6,small,\n")
    require_same_bits(
        tmp_path / "runs", "devices=8", "engine.block=1", COHORTS, named, rounds=2, cut=1
    )


@pytest.mark.parametrize(
    ("cohorts", "text", "said"),
    [
        (COHORTS, "device,lr\n1,0.2\n", "has no column cohort, which cohorts.small.devices=table needs"),
        (COHORTS, "device,cohort\n1,smal\n", "names the cohort smal for device 1; valid: small, tiny, own (did you mean small?), or nothing"),
        (COHORTS.replace("table", "[1, 2]", 1), "device,cohort\n1,own\n", "names the cohort own for device 1, which the cohort small lists"),
        (COHORTS.replace("table", "[1, 2]", 1), "device,cohort\n1,tiny\n", "names the cohort tiny for device 1, which the cohort small lists"),
        (COHORTS.replace("table", "0.2"), "device,cohort\n1,tiny\n", "has a column cohort, which no cohort takes; +cohorts.NAME.devices=table would"),
        (COHORTS.replace("table", "table, placement: hubs", 1), "device,cohort\n1,tiny\n", "cohorts.small.placement=hubs: must be random beside devices=table"),
        (COHORTS, "device,cohort\n1,tiny\n1,small\n", "names the device 1, as line 2 does"),
        ("cohorts={}", "device,cohort\n1,tiny\n", "has a column cohort, which no cohort takes"),
    ],
)  # fmt: skip
def test_a_table_that_names_no_cohort_is_refused(
    tmp_path: Path, cohorts: str, text: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        built(cohorts, table(tmp_path, text))


def test_a_cohort_by_table_needs_a_table() -> None:
    with pytest.raises(
        ConfigError, match=re.escape("cohorts.small.devices=table: needs train.devices=FILE")
    ):
        built(COHORTS)
