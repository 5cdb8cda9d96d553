"""Whose samples are whose: the same table is the same experiment in every format, and owners keep
their names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset
from swarm.data.files.table import Table
from swarm.data.files.text import Text
from swarm.data.partition import Iid, Natural, Rare
from tests.support import prepared, run

WORDS = ("walk", "sit", "run")


def people(count: int = 12, rows: int = 12) -> pd.DataFrame:
    """Persons 1 to ``count`` and labels 8 to 10, whose order as text is another; features are exact
    in every format.
    """
    who = np.repeat(np.arange(1, count + 1), rows)
    draw = np.random.default_rng(0).integers(-40, 40, (len(who), 3)) / 8
    frame = pd.DataFrame(draw, columns=list("abc"))
    return frame.assign(kind=8 + np.arange(len(who)) % 3, person=who)


def written(folder: Path, frame: pd.DataFrame) -> list[Path]:
    """The same table, its names as numbers, as text, as categories, and as what JSON makes of
    them.
    """
    text = frame.assign(person=frame["person"].astype(str), kind=frame["kind"].astype(str))
    frame.to_csv(folder / "numbers.csv", index=False)
    frame.to_parquet(folder / "numbers.parquet")
    text.to_parquet(folder / "text.parquet")
    frame.assign(
        person=pd.Categorical(frame["person"]), kind=pd.Categorical(text["kind"])
    ).to_parquet(folder / "cat.parquet")
    frame.assign(
        person=frame["person"].astype(float), kind=frame["kind"].astype("int8")
    ).to_parquet(folder / "float.parquet")
    text.to_json(folder / "text.jsonl", orient="records", lines=True)
    frame.to_json(folder / "numbers.jsonl", orient="records", lines=True)
    text.to_feather(folder / "text.arrow")
    np.savez(folder / "numbers.npz", **{name: frame[name].to_numpy() for name in frame})
    np.savez(
        folder / "text.npz",
        **{
            name: text[name].to_numpy(dtype=str if name in ("person", "kind") else float)
            for name in text
        },
    )
    return sorted(folder.iterdir())


def test_the_same_table_is_the_same_data_in_every_format(tmp_path: Path) -> None:
    files = written(tmp_path, people())
    assert len(files) == 10
    for file in files:
        found = Table(str(file), "kind", "person").load()
        assert found.owner_names == tuple(map(str, range(1, 13))), file.name
        assert found.class_names == ("8", "9", "10"), file.name
        np.testing.assert_array_equal(found.owner, np.repeat(np.arange(12), 12))
        np.testing.assert_array_equal(found.y, np.arange(144) % 3)


def test_the_same_table_is_the_same_experiment_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    hashes = {}
    for file in written(tmp_path / "data", people()):
        summary = run(
            tmp_path / file.name, "data=table", f"data.path={file}", "data.label=kind", "data.device=person",
            "partition=natural", "devices=12", "topology=star", "model=softmax", "rounds=1", "train.batch=4",
        )  # fmt: skip
        hashes[file.name] = summary["arms"]["swarm"]["params_sha256"]
    assert len(set(hashes.values())) == 1, hashes


def table(folder: Path, **columns: Any) -> Dataset:
    size = len(next(iter(columns.values())))
    frame = pd.DataFrame({"a": np.arange(size) / 4, "label": np.arange(size) % 2, **columns})
    frame.to_parquet(folder / "t.parquet")
    return Table(str(folder / "t.parquet"), device="who").load()


def test_devices_go_by_their_owners_names(tmp_path: Path) -> None:
    data = table(tmp_path, who=["zoe"] * 20 + ["adam"] * 10 + ["mia"] * 30)
    assert data.owner_names == ("adam", "mia", "zoe")
    dealt = Natural(3).split(data, Keys(0, "p"))
    assert dealt.names == ("adam", "mia", "zoe")
    assert dealt.owned
    largest = Natural(2, largest=True).split(data, Keys(0, "p"))
    assert largest.names == ("mia", "zoe")
    for device, name in enumerate(largest.names or ()):
        assert data.owner is not None
        assert {data.owner_names[owner] for owner in data.owner[largest.of(device)]} == {name}
    assert largest.in_order(Keys(0, "o")).names == largest.names
    assert largest.pooled(Keys(0, "o")).names is None
    assert Iid(3).split(data, Keys(0, "p")).names is None


def test_of_owners_with_text_those_taken_keep_their_names(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "owner": ["9", "10", "short", "11"],
            "text": ["abc " * 300, "abd " * 500, "ab", "abe " * 400],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.warns(UserWarning, match="1 of 4 owners are left out"):
        assert Text(str(tmp_path / "t.parquet"), context=8, min_chars=200).load().owner_names == (
            "10",
            "11",
            "9",
        )
    assert Text(
        str(tmp_path / "t.parquet"), context=8, min_chars=200, owners=2
    ).load().owner_names == ("10", "11")


@pytest.mark.parametrize("values", [["a", " ", "a", "b"], ["a", None, "a", "b"]])
def test_an_owner_without_a_name_is_refused(tmp_path: Path, values: list[Any]) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^device=who: row 1 \(counted from 0\) is empty.*; every row needs a value",
    ):
        table(tmp_path, who=values)


# --- classes --------------------------------------------------------------------------------------


def words(folder: Path, names: tuple[str, ...] = WORDS) -> list[str]:
    frame = people().assign(kind=[names[i % len(names)] for i in range(144)])
    frame.to_csv(folder / "words.csv", index=False)
    return ["data=table", f"data.path={folder / 'words.csv'}", "data.label=kind", "data.features=[a,b,c]", "devices=4",
            "topology=ring", "partition=iid", "model=softmax", "train.batch=4"]  # fmt: skip


def test_one_label_is_asked_for_by_name_or_number(tmp_path: Path) -> None:
    records = []
    for i, label in enumerate(("walk", "2")):  # run, sit, walk
        run(tmp_path / str(i), *words(tmp_path), "rounds=2", f"evaluate.label={label}")
        records.append((tmp_path / str(i) / "metrics.jsonl").read_text().splitlines()[-1])
    by_name, by_number = (json.loads(record)["label_accuracy_mean"] for record in records)
    assert by_name == by_number


def test_of_classes_that_are_called_by_numbers_the_name_counts(tmp_path: Path) -> None:
    given = words(tmp_path, ("1", "2", "3"))
    data = prepared(*given, "evaluate.label=3").dataset
    assert [data.class_of(label) for label in (1, 2, 3, "03", 0)] == [0, 1, 2, 2, None]
    with pytest.raises(
        ConfigError, match=r"^evaluate.label=0: must be null or one of the 3 labels of .*, 1, 2, 3$"
    ):
        prepared(*given, "evaluate.label=0")


@pytest.mark.parametrize(("names", "label"), [(("-1", "1"), "-1"), (("True", "False"), "True")])
def test_a_class_below_zero_and_a_truth_value_have_names(
    tmp_path: Path, names: tuple[str, ...], label: str
) -> None:
    ready = prepared(*words(tmp_path, names), f"evaluate.label={label}")
    asked = ready.settings.evaluate.label
    assert asked is not None
    assert ready.dataset.class_of(asked) == sorted(names).index(label)


def test_a_class_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    for key in ("evaluate.label=stand", "evaluate.label=3"):
        with pytest.raises(
            ConfigError,
            match=rf"^{key}: must be null or one of the 3 .*, run, sit, walk, or 0 to 2$",
        ):
            prepared(*words(tmp_path), key)
    for key, given in (("evaluate.label", ()), ("partition.label", ("partition=rare",))):
        with pytest.raises(
            ConfigError,
            match=rf"^{key}=wlak: must be .* run, sit, walk, or 0 to 2 \(did you mean walk\?\)$",
        ):
            prepared(*words(tmp_path), *given, f"{key}=wlak")
    with pytest.raises(
        ConfigError,
        match=r"^partition.label=stand: must be a class of the data: run, sit, walk, or 0",
    ):
        prepared(*words(tmp_path), "partition=rare", "partition.label=stand")


def test_a_class_without_a_test_sample_is_not_offered(tmp_path: Path) -> None:
    """With a single row, the class is one of the data, and its row is one for training."""
    rows = "".join(f"{i},{'run' if i % 2 else 'sit'}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(f"a,label\n{rows}60,walk\n")
    given = ("data=table", f"data.path={tmp_path}/t.csv", "devices=4")
    with pytest.raises(
        ConfigError,
        match=r"^evaluate.label=2: .* of the 2 labels of the test samples, run, sit, or 0 to 1$",
    ):
        prepared(*given, "evaluate.label=2")


def test_the_one_who_knows_a_class_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "a,label\n" + "".join(f"{i},{WORDS[i % 3]}\n" for i in range(60))
    )
    data = Table(str(tmp_path / "t.csv")).load()
    by_name, by_number = (Rare(4, label).split(data, Keys(0, "p")) for label in ("walk", 2))
    np.testing.assert_array_equal(by_name.sample, by_number.sample)
    holders = {
        int(device)
        for device, y in zip(by_name.device_S, data.y[by_name.sample], strict=True)
        if y == 2
    }
    assert len(holders) == 1
