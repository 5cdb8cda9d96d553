"""A column of a table has one part to play; one that has no name, or only numbers the rows, is no
feature without a word.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.data.files.activity import Activity
from swarm.data.files.hub import HF
from swarm.data.files.table import Table

ROWS = 120


def frame() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": draw.normal(size=ROWS),
            "kind": draw.integers(0, 3, ROWS),
            "who": draw.integers(0, 4, ROWS),
            "when": draw.permutation(ROWS),
            "state": np.repeat(["busy", "calm"], ROWS // 2),
        }
    )


def said(**options: Any) -> tuple[list[str], tuple[int, ...]]:
    """The warnings of loading a table, and the shape of its samples."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data = Table(label="state", **options).load()
    return [str(w.message) for w in found], data.features


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"one_hot": ["state"]}, r"^one_hot=\[state\]: names state, which is data\.label already"),
        (
            {"one_hot": ["kind", "who"]},
            r"^one_hot=\[kind, who\]: names who, which is data\.device already",
        ),
        ({"one_hot": ["when"]}, r"^one_hot=\[when\]: names when, which is data\.time already"),
        (
            {"features": ["a", "state"]},
            r"^features=\[a, state\]: names state, which is data\.label already",
        ),
        ({"features": ["who"]}, r"^features=\[who\]: names who, which is data\.device already"),
        (
            {"features": ["a", "kind"], "one_hot": ["kind"]},
            r"^one_hot=\[kind\]: names kind, which is data\.features already",
        ),
        (
            {"one_hot": ["kind", "kind"]},
            r"^one_hot=\[kind, kind\]: names kind, which is data\.one_hot already",
        ),
        ({"device": "state"}, r"^device=state: is data\.label already"),
        ({"time": "state"}, r"^time=state: is data\.label already"),
        ({"time": "who"}, r"^time=who: is data\.device already"),
        ({"one_hot": ["State"]}, r"^one_hot=State: is not a column"),
        ({"one_hot": [" state"]}, r"^one_hot= state: is not a column"),
        ({"one_hot": ["Kind"]}, r"^one_hot=Kind: is not a column of .* \(did you mean kind\?\)"),
        ({"device": "hwo"}, r"^device=hwo: is not a column of .* \(did you mean who\?\)"),
        ({"features": ["A"]}, r"^features=A: is not a feature of .* \(did you mean a\?\)"),
    ],
)
@pytest.mark.parametrize("kind", [Table, HF])
def test_a_column_has_one_part(
    tmp_path: Path, kind: type, options: dict[str, Any], message: str
) -> None:
    if kind is HF and "one_hot" in options:
        pytest.skip("has no one_hot")
    path = str(tmp_path / "t.parquet")
    frame().to_parquet(path)
    with pytest.raises(ConfigError, match=message):
        kind(**{"path": path, "label": "state", "device": "who", "time": "when", **options}).load()


@pytest.mark.parametrize(
    "heading", ["", " ", '""', '" "', "Unnamed: 0", "Unnamed: 0.1", "\ufeff", '\ufeff""']
)
def test_a_column_without_a_name_is_left_out_of_a_csv(tmp_path: Path, heading: str) -> None:
    lines = frame()[["a", "state"]].to_csv(header=False).splitlines()
    (tmp_path / "t.csv").write_text("\n".join([f"{heading},a,state", *lines]), encoding="utf-8")
    found, features = said(path=str(tmp_path / "t.csv"))
    assert features == (1,)
    assert len(found) == 1
    assert "a column that has no name, most often a row number, is left out" in found[0]


def test_a_column_without_a_name_is_left_out_of_a_parquet_file(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    # an index that is no range is a column
    frame()[["a", "state"]].sample(frac=1, random_state=0).to_parquet(path)
    found, features = said(path=path)
    assert features == (1,)
    assert "__index_level_0__" in found[0]
    assert said(path=path, features=["a", "__index_level_0__"]) == ([], (2,)), (
        "whoever names it has it"
    )


def test_names_of_rows_that_the_heading_leaves_out_are_left_out(tmp_path: Path) -> None:
    """As R's write.table writes them."""
    lines = frame()[["a", "state"]].to_csv(header=False).splitlines()
    (tmp_path / "t.csv").write_text("\n".join(["a,state", *lines]))
    found, features = said(path=str(tmp_path / "t.csv"))
    assert features == (1,)
    assert "one field more than its heading: the first, which has no name, is left out" in found[0]
    (tmp_path / "t.csv").write_text("\n".join(["a,state", *(f"x,{line}" for line in lines)]))
    with pytest.raises(ConfigError, match="has rows of 2 fields more than its heading"):
        said(path=str(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text(
        "\n".join(["# mine", "a,b,state", *(f"x,{line}" for line in lines)])
    )
    with pytest.raises(ConfigError, match="its first line is a remark, and has to be taken out"):
        said(path=str(tmp_path / "t.csv"))


def test_a_table_of_words_alone_is_made_of_ones_and_zeros(tmp_path: Path) -> None:
    path = str(tmp_path / "t.csv")
    words = pd.DataFrame({"odour": ["foul", "none", "almond"] * 20, "state": ["bad", "good"] * 30})
    words.to_csv(path, index=False)
    with pytest.raises(ConfigError, match=r"no numeric feature; .*; data\.one_hot=\[…\] makes"):
        said(path=path)
    for missing in ("refuse", "drop", "mean"):
        data = Table(path=path, label="state", one_hot=["odour"], missing=missing).load()
        assert data.features == (3,)
        np.testing.assert_array_equal(np.sort(data.x), np.tile([0, 0, 1], (60, 1)))


@pytest.mark.parametrize(("first", "kind"), [(0, int), (1, int), (0, float)])
def test_a_named_column_that_counts_the_rows_stays_with_a_word(
    tmp_path: Path, first: int, kind: type
) -> None:
    path = str(tmp_path / "t.parquet")
    frame()[["a", "state"]].assign(id=(first + np.arange(ROWS)).astype(kind)).to_parquet(path)
    found, features = said(path=path)
    assert features == (2,)
    assert (
        "column 'id' counts the rows, and tells the label where they are sorted by it" in found[0]
    )
    assert said(path=path, features=["a", "id"]) == ([], (2,))
    assert said(path=path, time="id") == ([], (1,))


def test_the_label_under_another_name_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    table = frame()[["a", "kind", "state"]]
    table.assign(code=(table["state"] == "calm") * 7.5, State=table["state"]).to_parquet(path)
    found, _ = said(path=path, features=["a", "kind", "code"], one_hot=["State"])
    assert [message.split("column ")[1].split(" says")[0] for message in found] == [
        "'code'",
        "'State'",
    ]
    assert all("says the same as the label in every row" in message for message in found)
    table.assign(b=table["a"]).to_parquet(path)
    with pytest.warns(UserWarning, match="column 'b' says the same as the label"):
        Table(path, label="a", task="regression", features=["kind", "b"]).load()


def test_a_row_number_is_no_channel_of_a_persons_readings(tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        table = pd.DataFrame(
            {"ax": np.random.default_rng(0).normal(size=400), "label": np.arange(400) // 100 % 2}
        )
        table.to_csv(tmp_path / f"{name}.csv")
    with pytest.warns(UserWarning, match=r"anna\.csv: a column that has no name.*is left out"):
        data = Activity(str(tmp_path), window=10).load()
    assert data.features == (10,)
