"""A file is replaced as a whole, also by several processes at a time."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.common.system import files
from swarm.common.system.files import replacing

SIZE = 20_000


def write(file: Path, letter: bytes) -> None:
    for _ in range(40):
        with replacing(file) as out:
            out.write(letter * SIZE)
        found = file.read_bytes()
        assert len(found) == SIZE
        assert len({*found}) == 1


def test_several_processes_that_replace_one_file_each_have_their_turn(tmp_path: Path) -> None:
    """As two commands that draw one report do: neither fails, and nobody sees half a file."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(tmp_path / "a.png", c)) for c in (b"a", b"b")]
    for each in writers:
        each.start()
    for each in writers:
        each.join(120)
    assert [each.exitcode for each in writers] == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.png.tmp").write_bytes(b"half")
    with replacing(tmp_path / "a.png") as out:
        out.write(b"whole")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.png"):
        raise ZeroDivisionError
    assert (tmp_path / "a.png").read_bytes() == b"whole"


def test_a_writer_that_was_given_up_puts_nothing_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs for too long loses its turn: what it finds there is another's, and half."""
    monkeypatch.setattr(files, "_LONGEST_S", 0.05)
    file = tmp_path / "a.png"
    file.write_bytes(b"old")
    slow = replacing(file)
    slow.__enter__().write(b"slow")
    with replacing(file) as out:
        out.write(b"half")
        out.flush()
        with pytest.raises(FileNotFoundError, match="another process took its place"):
            slow.__exit__(None, None, None)
        assert file.read_bytes() == b"old"
        out.write(b" whole")
    assert file.read_bytes() == b"half whole"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_a_file_system_that_locks_only_what_is_open_for_writing_is_waited_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS: whoever asks with a file that is open for reading is refused."""
    fcntl = pytest.importorskip("fcntl")
    lock: Callable[[int, int], None] = fcntl.flock

    def of_nfs(descriptor: int, how: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        first.__exit__(None, None, None)

    monkeypatch.setattr(files.time, "sleep", wait)
    first = replacing(tmp_path / "a.png")
    first.__enter__().write(b"first")
    with replacing(tmp_path / "a.png") as out:
        assert len(waited) == 1
        assert (tmp_path / "a.png").read_bytes() == b"first"
        out.write(b"second")
    assert (tmp_path / "a.png").read_bytes() == b"second"


def test_a_file_system_that_numbers_a_file_anew_each_time_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LONGEST_S", 0.02)
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    with replacing(tmp_path / "a.png") as out:
        out.write(b"whole")
    assert (tmp_path / "a.png").read_bytes() == b"whole"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
