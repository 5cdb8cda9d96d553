"""Published files: LEAF's JSON and TensorFlow Federated's HDF5 by client, and CIFAR's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.files.cifar import Cifar
from swarm.data.files.leaf import Leaf
from swarm.data.files.text import ALPHABET
from swarm.data.files.tff import Tff, TffText
from swarm.data.partition import Natural
from tests.support import run

DRAW = np.random.default_rng(0)
USERS = {f"f{i:04d}_{i}": DRAW.random((6 + i, 2, 2)).round(3) for i in range(3)}


def user_file(
    file: Path, users: dict[str, tuple[Any, Any]], change: dict[str, Any] | None = None
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {user: {"x": x, "y": y} for user, (x, y) in users.items()},
    }
    file.write_text(json.dumps(content | (change or {})))
    return file.parent


def numbers() -> dict[str, tuple[Any, Any]]:
    return {user: (x.tolist(), [i % 2 * 10 for i in range(len(x))]) for user, x in USERS.items()}


# --- LEAF -----------------------------------------------------------------------------------------


def test_users_of_leaf_are_the_devices(tmp_path: Path) -> None:
    users = numbers()
    first = dict(list(users.items())[:2])
    user_file(tmp_path / "a.json", first)
    user_file(tmp_path / "b.json", {user: users[user] for user in users if user not in first})
    data = Leaf(str(tmp_path), validation=0).load()
    assert data.owner_names == tuple(USERS)
    assert data.class_names == ("0", "10")
    assert data.owner is not None
    np.testing.assert_allclose(data.x, np.concatenate(list(USERS.values())), rtol=1e-6)
    split = Natural(3).split(data, Keys(0, "partition"))
    assert split.names is None or split.names == tuple(USERS)
    for device in range(3):
        assert set(data.owner[split.of(device)]) == {device}


def test_leafs_own_test_set_stays(tmp_path: Path) -> None:
    user_file(tmp_path / "train" / "all_train.json", numbers())
    other = {user: (x[:2], y[:2]) for user, (x, y) in numbers().items()} | {"late": ([], [])}
    user_file(tmp_path / "test" / "all_test.json", other)
    data = Leaf(str(tmp_path)).load()
    total = sum(map(len, USERS.values()))
    assert data.test.tolist() == list(range(total, total + 6))


def test_users_of_the_test_set_alone_are_no_devices(tmp_path: Path) -> None:
    """As LEAF splits by user."""
    users = numbers()
    last = list(users)[-1]
    user_file(tmp_path / "train" / "x.json", {u: v for u, v in users.items() if u != last})
    user_file(tmp_path / "test" / "x.json", {last: users[last]})
    data = Leaf(str(tmp_path)).load()
    split = Natural(2).split(data, Keys(0, "partition"))
    assert split.named_by_owner(data).names == tuple(list(USERS)[:2])


def test_characters_of_leaf(tmp_path: Path) -> None:
    text = "To be, or not to be: that is the question\u00e9"
    windows = [text[i : i + 8] for i in range(len(text) - 8)]
    follows = [text[i + 8] for i in range(len(text) - 8)]
    user_file(tmp_path / "a.json", {"ham": (windows, follows), "oph": (windows, follows)})
    data = Leaf(str(tmp_path)).load()
    assert (data.features, data.classes) == ((8,), len(ALPHABET) + 1)
    assert "".join(ALPHABET[int(code)] for code in data.x[3]) == windows[3]
    assert [ALPHABET[int(code)] for code in data.y[3]] == [*windows[3][1:], follows[3]]
    assert data.y[len(windows) - 1, -1] == len(ALPHABET)  # é is one of all others


@pytest.mark.parametrize(
    ("users", "change", "message"),
    [
        (
            {"u": ([[1.0], [2.0]], [1])},
            {},
            "has 2 and 1 samples and labels of user u; lists of one",
        ),
        ({"u": ([[1.0], [2.0, 3]], [1, 2])}, {}, "of user u that are neither numbers of one shape"),
        ({"u": (["1.jpg", "12.jpg"], [1, 0])}, {}, "of user u that are neither numbers of one"),
        ({"u": (["ab", "cd"], ["e", "fg"])}, {}, "texts whose labels are not the next character"),
        ({"u": ([[1.0]], [[1]]), "v": ([[1.0]], [[2]])}, {}, "has a label that is no name"),
        ({"u": ([[1.0]], [1]), "v": ([[1.0, 2.0]], [0])}, {}, r"of shape \[1\] and of \[2\]"),
        ({"u": (["abc"], ["d"]), "v": (["ab"], ["d"])}, {}, "or texts of two lengths"),
        ({"u": ([[1.0]], [1])}, {"users": ["w", "u"]}, "has no user_data of w, whom users names"),
        ({}, {"user_data": 3}, "has no samples; at least a few are needed"),
        ({}, {"users": None}, "is not JSON with users, and user_data with x and y of each"),
    ],
)
def test_bad_leaf_files(
    tmp_path: Path, users: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    user_file(tmp_path / "a.json", users, change)
    with pytest.raises(ConfigError, match=message):
        Leaf(str(tmp_path)).load()


def test_leaf_is_bounded_and_never_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"a\.json: is nested too deeply"):
        Leaf(str(tmp_path), max_mb=32).load()
    (tmp_path / "a.json").write_text("[" + "[]," * 100_000 + "[]]")
    with pytest.raises(
        ConfigError, match=r"may take \d+ bytes in memory; at most 1048576 are read"
    ):
        Leaf(str(tmp_path), max_mb=1).load()
    (tmp_path / "a.json").unlink()
    with pytest.raises(ConfigError, match=r"has no \.json file, in which LEAF keeps its users"):
        Leaf(str(tmp_path)).load()


# --- CIFAR ----------------------------------------------------------------------------------------


def records(labels: int, count: int) -> np.ndarray:
    found = np.random.default_rng(count).integers(0, 256, (count, labels + 3072), dtype=np.uint8)
    found[:, 0], found[:, labels - 1] = np.arange(count) % 2, np.arange(count) % 4
    return found


def test_cifar_10(tmp_path: Path) -> None:
    files = {"data_batch_1": 20, "data_batch_2": 24, "test_batch": 8}
    for name, count in files.items():
        (tmp_path / f"{name}.bin").write_bytes(records(1, count).tobytes())
    (tmp_path / "batches.meta.txt").write_text("airplane\nautomobile\nbird\ncat\n\n")
    data = Cifar(str(tmp_path), scale="none").load()
    assert data.class_names == ("airplane", "automobile", "bird", "cat")
    assert data.test.tolist() == list(range(44, 52))
    # row by row, red before green before blue, as the site of the data set says
    assert data.x[0, 1, 2, 3] == records(1, 20)[0, 1 + 1024 + 2 * 32 + 3]
    assert data.y[20:24].tolist() == [0, 1, 2, 3]
    assert Cifar(str(tmp_path), image=False, limit=12).load().features == (3072,)


def test_cifar_100(tmp_path: Path) -> None:
    for name, count in (("train", 24), ("test", 8)):
        (tmp_path / f"{name}.bin").write_bytes(records(2, count).tobytes())
    assert Cifar(str(tmp_path)).load().y[:4].tolist() == [0, 1, 2, 3]
    assert Cifar(str(tmp_path), fine=False).load().y[:4].tolist() == [0, 1, 0, 1]
    (tmp_path / "train.bin").write_bytes(b"\0" * 3073)
    with pytest.raises(
        ConfigError, match=r"has 3073 bytes, which are no whole number of records of"
    ):
        Cifar(str(tmp_path)).load()


def test_cifars_pickles_are_never_read(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="must be the folder that CIFAR's binary version unpacks to"
    ):
        Cifar(str(tmp_path)).load()
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(ConfigError, match="holds the Python version, whose pickles are never read"):
        Cifar(str(tmp_path)).load()


# --- TensorFlow Federated -------------------------------------------------------------------------


def test_without_h5py_a_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "t.h5").write_bytes(b"x")
    with pytest.raises(
        ConfigError, match=r"needs the package h5py; `pip install \.\[h5\]` installs"
    ):
        Tff(str(tmp_path / "t.h5")).load()


def client_file(file: Path, **odd: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as root:
        for name, x in USERS.items():
            root[f"examples/{name}/pixels"] = x.astype(np.float32)
            root[f"examples/{name}/label"] = np.arange(len(x), dtype=np.int32) % 2
        for name, value in odd.items():
            group = root[f"examples/{next(iter(USERS))}"]
            if name in group:
                del group[name]
            group[name] = value
    return file


def test_clients_of_tff_are_the_devices(tmp_path: Path) -> None:
    data = Tff(str(client_file(tmp_path / "t.h5")), scale="none").load()
    assert data.owner_names == tuple(USERS)
    np.testing.assert_allclose(data.x[:, 0], np.concatenate(list(USERS.values())), rtol=1e-6)
    client_file(tmp_path / "fed_train.h5")
    client_file(tmp_path / "fed_test.h5")
    total = sum(map(len, USERS.values()))
    assert Tff(str(tmp_path)).load().test.tolist() == list(range(total, 2 * total))


@pytest.mark.parametrize("kind", ["external", "soft", "shape", "text", "image", "label", "bytes"])
def test_bad_files_of_tff(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    client_file(tmp_path / "other.h5")
    odd: dict[str, tuple[dict[str, Any], str]] = {
        "external": ({"pixels": h5py.ExternalLink("other.h5", "/examples")}, "a link to something"),
        "soft": ({"pixels": h5py.SoftLink("/examples")}, "a link to something"),
        "shape": ({"pixels": np.zeros((6, 3, 2))}, r"samples of shape \[2, 2\] and \[3, 2\]"),
        "text": ({"pixels": [b"a"] * 6}, r"has text in the field pixels .*; data=tff_text reads"),
        "image": ({"image": np.zeros((6, 2))}, "features=null: must be a field of client f0000_0"),
        "label": ({"label": np.arange(5)}, r"has \[6, 2, 2\] samples and \[5\] labels of client"),
        "bytes": ({}, "cannot be read as HDF5 by client"),
    }
    change, message = odd[kind]
    file = client_file(tmp_path / "t.h5", **change)
    if kind == "bytes":
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ConfigError, match=message):
        Tff(str(file)).load()


def test_a_declared_size_is_believed_before_it_is_allocated(tmp_path: Path) -> None:
    file = client_file(tmp_path / "t.h5")
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "a") as root:
        group = root[f"examples/{next(iter(USERS))}"]
        del group["pixels"]
        group.create_dataset("pixels", (10**9, 100), np.float32, chunks=(1000, 100))
    with pytest.raises(ConfigError, match=r"takes 4000\d+ bytes; at most 1073741824 are read"):
        Tff(str(file)).load()


# --- texts of TensorFlow Federated ----------------------------------------------------------------


def text_file(file: Path, texts: dict[str, Any], field: str = "snippets") -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as root:
        for name, rows in texts.items():
            root[f"examples/{name}/{field}"] = rows
    return file


def lines(first: int, count: int = 6) -> list[str]:
    """Texts in which every stretch of five characters stands once."""
    return ["".join(f"{first + 10 * i + j:03d}." for j in range(10)) for i in range(count)]


def words(codes: np.ndarray) -> list[str]:
    return ["".join((ALPHABET + "?")[int(code)] for code in row) for row in codes]


def test_snippets_of_a_client_are_one_text_with_the_next_character_as_label(tmp_path: Path) -> None:
    file = text_file(tmp_path / "t.h5", {"ROMEO": lines(0), "JULIET_é": lines(500)})
    data = TffText(str(file), context=8, min_chars=100).load()
    assert data.owner_names == ("JULIET_é", "ROMEO")
    assert data.owner is not None
    assert (data.y[:, :-1] == data.x[:, 1:]).all()
    for owner, first in enumerate((500, 0)):
        mine = data.train[data.owner[data.train] == owner]
        whole = "\n".join(lines(first))
        assert words(data.x[mine]) == [whole[8 * i :][:8] for i in range(len(mine))]
        held = data.test[data.owner[data.test] == owner]
        assert all(whole.index(text) >= 0.79 * len(whole) for text in words(data.x[held]))


def test_a_test_file_of_texts_stays_the_test_set(tmp_path: Path) -> None:
    text_file(tmp_path / "s_train.h5", {"b": lines(0), "c": lines(100)})
    text_file(tmp_path / "s_test.h5", {"a": lines(200, 1), "b": lines(300, 2), "c": ["too short"]})
    with pytest.warns(UserWarning, match="1 of 3 owners of the test set are left out, as a seq"):
        data = TffText(str(tmp_path), context=9, min_chars=100).load()
    assert data.owner_names == ("a", "b", "c")
    assert data.owner is not None
    assert set(data.owner[data.train]) == {1, 2}  # a is in the test file alone
    assert set(data.owner[data.test]) == {0, 1}
    first = {200: 0, 300: 1}
    begins = {words(data.x[data.test[data.owner[data.test] == o]])[0]: s for s, o in first.items()}
    assert begins == {lines(200)[0][:9]: 200, lines(300)[0][:9]: 300}
    whole = "\n".join(lines(100))
    last = words(data.x[data.train[data.owner[data.train] == 2][-1:]])[0]
    assert len(whole) - whole.index(last) < len(whole) / 10 + 20  # only validation text is behind
    assert Natural(2).split(data, Keys(0, "partition")).named_by_owner(data).names == ("b", "c")


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ({"a": [b"\xff\xfe"]}, {}, r"text 0 \(counted from 0\) of client a that is not UTF-8"),
        ({"a": lines(0)}, {"text": "tokens"}, "text=tokens: is no field of client a, whose texts "),
        ({"a": np.zeros(3)}, {}, "text=snippets: is no field of text of client a"),
        ({"a": np.zeros(3)}, {"text": "x"}, "which has no text; data=tff reads numbers"),
        ({"a": lines(0)}, {"min_chars": 900}, "min_chars=900: is more than the one owner has"),
        ({"a": lines(0), "b": [lines(0)]}, {}, "text=snippets: is no field of text of client b"),
        ({}, {}, "has no text; at least a few texts are needed"),
        ({"a": ["ж" * 300]}, {}, "characters=null: knows only 0% of the text; name the charact"),
        ({"a": ["x" * 700_000]}, {"max_mb": 1}, r"at most 1048576 are read \(data.max_mb=1\)"),
    ],
)
def test_bad_texts_of_tff(
    tmp_path: Path, texts: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    file = text_file(tmp_path / "t.h5", texts)
    if not texts:
        import h5py

        with h5py.File(file, "w") as root:
            root.create_group("examples")
    with pytest.raises(ConfigError, match=message):
        TffText(str(file), **{"context": 8, "min_chars": 100, **options}).load()


def test_sequence_models_learn_from_texts_of_clients(tmp_path: Path) -> None:
    file = text_file(tmp_path / "t.h5", {"a": lines(0), "b": lines(100), "c": lines(200)})
    keys = [f"data.path={file}", "data.context=8", "data.min_chars=100", "partition=natural"]
    summary = run(tmp_path / "r", "data=tff_text", *keys, "model=gru", "devices=3", "topology=ring")
    assert summary["arms"]["swarm"]["accuracy_mean"] > 1 / 97
    with pytest.raises(ConfigError, match=r"has text .* and no field label; data=tff_text reads"):
        Tff(str(file)).load()
