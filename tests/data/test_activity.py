"""Human activity from folders made up here: both kinds, whose samples they are, and what is
refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.data.files.activity import Activity


def har(folder: Path, subject: str = "subject", rows: int = 40) -> str:
    random = np.random.default_rng(0)
    for part, people in (("train", [1, 3]), ("test", [2])):
        (folder / part).mkdir(parents=True)
        np.savetxt(folder / part / f"X_{part}.txt", random.random((rows, 5)), fmt="%16.7e")
        np.savetxt(folder / part / f"y_{part}.txt", 1 + np.arange(rows) % 4, fmt="%d")
        np.savetxt(folder / part / f"{subject}_{part}.txt", np.resize(people, rows), fmt="%d")
    return str(folder)


def readings(folder: Path, suffix: str = ".npy", length: int = 100) -> str:
    folder.mkdir()
    for person in ("p1", "p2"):
        value_TC = np.random.default_rng(0).random((length, 3))
        label_T = np.repeat([0, 1, -1, 1], length // 4)
        if suffix == ".npy":
            np.save(folder / f"{person}.npy", np.c_[value_TC, label_T])
        else:
            pd.DataFrame(value_TC, columns=list("xyz")).assign(label=label_T).to_csv(
                folder / f"{person}.csv", index=False
            )
    return str(folder)


@pytest.mark.parametrize("subject", ["subject", "subject_id"])
def test_a_folder_of_features(tmp_path: Path, subject: str) -> None:
    data = Activity(har(tmp_path / "har", subject)).load()
    assert (data.x.shape, data.classes) == ((80, 5), 4)
    assert data.owner is not None
    assert np.bincount(data.owner).tolist() == [20, 40, 20]
    for ids in (data.train, data.test):
        assert set(data.owner[ids]) == {0, 1, 2}


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_readings_by_person(tmp_path: Path, suffix: str) -> None:
    """100 rows, 25 of each activity and of none: windows of 5 that hold one known activity."""
    path = readings(tmp_path / "r", suffix)
    data = Activity(path, window=5).load()
    assert (data.x.shape, data.classes) == ((30, 15), 2)
    assert data.owner is not None
    assert np.bincount(data.owner).tolist() == [15, 15]
    assert data.test.tolist() == [4, 13, 14, 19, 28, 29]  # the last ones of each activity
    half = Activity(path, window=5, step=2, flat=False, scale="none").load()
    assert half.features == (3, 5)
    first = np.random.default_rng(0).random((100, 3))[:5].T
    np.testing.assert_allclose(half.x[0], first, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "/nowhere"}, "^path=/nowhere: is not a folder"),
        ({"path": None}, "^path=null: must be a folder"),
        ({"window": 26}, "^window=26: is longer than every stretch of one activity"),
        ({"window": 0}, "^window=0"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = readings(tmp_path / "r")
    with pytest.raises(ConfigError, match=message):
        Activity(**{"path": path, **options}).load()


def test_words_for_one_person_and_numbers_for_another(tmp_path: Path) -> None:
    path = readings(tmp_path / "r", ".csv")
    table = pd.read_csv(tmp_path / "r" / "p1.csv")
    table.assign(label=table["label"].map({0: "sits", 1: "1", -1: "runs"})).to_csv(
        tmp_path / "r" / "p1.csv", index=False
    )
    data = Activity(path, window=5).load()
    assert data.classes == 4, "0, 1, runs and sits"
    assert np.bincount(data.y.astype(int)).tolist() == [5, 20, 5, 5]


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="neither train and test folders, nor"):
        Activity(str(tmp_path / "empty")).load()
    path = Path(har(tmp_path / "har"))
    (path / "train" / "y_train.txt").write_text("1\n")
    with pytest.raises(ConfigError, match="has 40 samples, 1 label and 40 subjects"):
        Activity(str(path)).load()
    (path / "train" / "y_train.txt").write_text("1\n" * 39 + "walking\n")
    with pytest.raises(ConfigError, match=r"y_train\.txt: must have numbers in every column"):
        Activity(str(path)).load()
    (path / "train" / "y_train.txt").unlink()
    with pytest.raises(ConfigError, match=r"needs one file y_….txt; it has 0"):
        Activity(str(path)).load()
    path = Path(readings(tmp_path / "r"))
    for content, message in [(b"no", "cannot be read"), (b"", "cannot be read")]:
        (path / "p1.npy").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            Activity(str(path), window=5).load()
    np.save(path / "p1.npy", np.zeros(3))
    with pytest.raises(
        ConfigError, match=r"has shape \[3\]; \[rows, channels \+ 1\] numbers are needed"
    ):
        Activity(str(path), window=5).load()
    np.save(path / "p1.npy", np.zeros((50, 2)))
    with pytest.raises(ConfigError, match="files of different numbers of columns"):
        Activity(str(path), window=5).load()
    path = Path(readings(tmp_path / "c", ".csv"))
    with pytest.raises(
        ConfigError, match=r"label=doing: is not a column of .*; its columns are x, y, z, label"
    ):
        Activity(str(path), window=5, label="doing").load()
