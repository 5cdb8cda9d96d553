"""A file is replaced as a whole, also by several processes at a time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

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
