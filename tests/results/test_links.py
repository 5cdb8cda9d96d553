"""A run folder that somebody has prepared: links in it are replaced or refused, never written
through.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.cli.commands.report import main as report
from swarm.common.errors import ConfigError
from swarm.common.system.files import appending, own_folder, replacing
from tests.conftest import SMALL, composed

ROOT = Path(__file__).parents[2]
SECRET = b"what nobody may overwrite\n"
OPTIONS = (*SMALL, "rounds=2", "model=softmax", "report=true")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_bytes(SECRET)
    return file


def links(folder: Path, names: list[Path], victim: Path) -> None:
    """A link to the victim where each of the files would be while it is written."""
    for link in {
        place
        for name in names
        for place in (folder / f"{name}.tmp", (folder / name).with_suffix(".tmp"))
    }:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(victim)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("links") / "run"
    swarm.run(composed(*OPTIONS), folder)
    return folder


def files(folder: Path) -> list[Path]:
    return [
        file.relative_to(folder)
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".lock"
    ]


def test_a_new_run_follows_no_link(finished: Path, tmp_path: Path, victim: Path) -> None:
    """A folder with links in it is not empty, and is refused."""
    names = files(finished)
    assert {"summary.json", "devices.parquet", "report.html", "curves.png", "graph.json"} <= {
        n.name for n in names
    }
    links(tmp_path / "new", names, victim)
    before = sorted((tmp_path / "new").rglob("*"))
    with pytest.raises(ConfigError, match="must be a new or an empty folder"):
        swarm.run(composed(*OPTIONS), tmp_path / "new")
    assert victim.read_bytes() == SECRET
    assert sorted((tmp_path / "new").rglob("*")) == before


def test_a_resumed_run_and_a_redrawn_page_follow_no_link(
    finished: Path, tmp_path: Path, victim: Path
) -> None:
    longer = tmp_path / "longer"
    shutil.copytree(finished, longer)
    ahead = [Path(f"checkpoints/swarm/{name}") for name in
             ("round_000000003.json", "round_000000003.safetensors", "devices_000000003.parquet")]  # fmt: skip
    links(longer, [*files(finished), *ahead], victim)
    swarm.resume(longer, {"rounds": 3})
    links(longer, [Path("curves.png"), Path("report.html"), Path("graph.png")], victim)
    assert report([str(longer)]) == 0
    assert victim.read_bytes() == SECRET
    assert swarm.load(longer).summary["rounds"] == 3  # type: ignore[index]


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "checkpoints/swarm", ".lock"])
def test_what_is_written_in_place_is_no_link(
    finished: Path, tmp_path: Path, victim: Path, name: str
) -> None:
    """A new run in a folder where a link waits.

    One that leads nowhere yet would make the file that it names.
    """
    elsewhere = tmp_path / "elsewhere"
    if name.startswith("checkpoints"):
        elsewhere.mkdir()
        (elsewhere / "devices_000000009.parquet").write_bytes(SECRET)
    new = tmp_path / "new"
    (new / name).parent.mkdir(parents=True)
    (new / name).symlink_to(elsewhere)
    with pytest.raises((ConfigError, OSError)):
        swarm.run(composed(*OPTIONS), new)
    if elsewhere.exists():
        assert [file.read_bytes() for file in elsewhere.iterdir()] == [SECRET]


@pytest.mark.parametrize(
    "name", ["wandb", "tensorboard", "tensorboard/swarm", "checkpoints", "checkpoints/swarm"]
)
@pytest.mark.parametrize("leads", ["to a folder", "nowhere"])
def test_a_run_goes_on_in_folders_of_its_own(
    finished: Path, tmp_path: Path, name: str, leads: str
) -> None:
    """Whatever its tracker: refused before anything is written, where the link leads and in the run
    folder.
    """
    folder, elsewhere = shutil.copytree(finished, tmp_path / "run"), tmp_path / "elsewhere"
    if leads == "to a folder":
        elsewhere.mkdir()
    if (folder / name).exists():
        shutil.rmtree(folder / name)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(elsewhere)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(ConfigError, match=f"{name}: must be a folder of its own, not a link"):
        swarm.resume(folder, {"rounds": 3, "tracker.mode": "disabled"})
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    assert not elsewhere.exists() or not list(elsewhere.iterdir())


def test_the_leftover_of_a_killed_run_goes(tmp_path: Path) -> None:
    (tmp_path / "a.json.tmp").write_bytes(b"half")
    with replacing(tmp_path / "a.json") as file:
        file.write(b"whole")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.json": b"whole"}


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(TypeError), replacing(tmp_path / "a") as file:
        file.write("no bytes")  # type: ignore[arg-type]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old"}


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tmp").mkdir()
    with (
        pytest.raises(ConfigError, match=r"a\.tmp is a folder|a\.tmp: is a folder"),
        replacing(tmp_path / "a"),
    ):
        pass


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to("x"), os.mkfifo, lambda path: path.mkdir()]
)
def test_only_a_file_is_appended_to(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "a")
    with pytest.raises(ConfigError, match="must be a file of its own"):
        appending(tmp_path / "a")
    assert not (tmp_path / "x").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ConfigError, match="must be a folder of its own"):
        own_folder(tmp_path / "a")


# Files of the kernel's, and of private folders that were made with a name of their own.
ELSEWHERE = {"swarm/common/system/processes/child.py", "swarm/simulation/engine/prefork/child.py", "swarm/simulation/engine/prefork/__init__.py", "swarm/data/fetch/convert.py",
             "swarm/data/fetch/download.py"}  # fmt: skip


def _writes(tree: ast.AST) -> Iterator[int]:
    """The lines that open a file for writing by its name."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = (
            call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        )
        of = getattr(getattr(call.func, "value", None), "id", "")
        modes = [
            a.value
            for a in (*call.args, *(k.value for k in call.keywords))
            if isinstance(a, ast.Constant)
        ]
        opens = name == "open" and any(
            isinstance(m, str) and set(m) & set("wax+") and len(m) < 4 for m in modes
        )
        copies = of == "shutil" and name.startswith("copy")
        if (
            opens
            or copies
            or name == "write_text"
            or (name == "write_bytes" and of != "checkpoint")
        ):
            yield call.lineno


def test_every_writer_goes_through_the_one_function() -> None:
    sources = [*(ROOT / "swarm").rglob("*.py"), *(ROOT / "scenarios").rglob("*.py")]
    found = {f"{file.relative_to(ROOT)}:{line}" for file in sources for line in _writes(ast.parse(file.read_text()))
             if str(file.relative_to(ROOT)) not in ELSEWHERE}  # fmt: skip
    found = {
        text for text in found if not text.startswith("swarm/simulation/checkpoint/__init__.py")
    }  # its own write_bytes
    assert not found, f"write by swarm.common.system.files.replacing or appending: {sorted(found)}"
