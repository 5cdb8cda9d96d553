"""Strikes at files: one bit of a run folder, all of its files in every way, and damaged tables and
graphs as input; benchmarks/chaos.py makes them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

import swarm
from benchmarks.strikes import Tally, config, judged, outcome_of
from swarm.cli.commands.report import main as report
from swarm.experiments import runner

# --- flips and damage -----------------------------------------------------------------------------


def flips(count: int, draw: np.random.Generator, place: Path, tally: Tally) -> None:
    """Flip one bit of one file of a run, then resume it.

    Small files are struck as often as large ones.
    """
    short, expected = _two_lengths(place)
    files = sorted(
        path.relative_to(short)
        for path in short.rglob("*")
        if path.is_file() and path.stat().st_size
    )
    for number in range(count):
        file = files[number % len(files)]
        folder = place / "struck"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(short, folder)
        data = bytearray((folder / file).read_bytes())
        at, bit = int(draw.integers(len(data))), int(draw.integers(8))
        data[at] ^= 1 << bit
        (folder / file).write_bytes(data)
        tally.attempt(partial(_longer, folder, expected), f"bit {bit} of byte {at} of {file}")


def _two_lengths(place: Path) -> tuple[Path, dict[str, Any]]:
    """A run of three rounds, and the results of one of five rounds."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        swarm.run(config("rounds=3"), place / "short")
        shutil.copytree(place / "short", place / "long")
        swarm.resume(place / "long", {"rounds": 5})
    return place / "short", outcome_of(place / "long")


def _longer(folder: Path, expected: dict[str, Any]) -> str:
    swarm.resume(folder, {"rounds": 5})
    return judged(folder, expected)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "null": lambda path: path.write_text("null"),
    "a list": lambda path: path.write_text("[1, 2]"),
    "a number": lambda path: path.write_text("7"),
    "text": lambda path: path.write_text('"text"'),
    "an empty object": lambda path: path.write_text("{}"),
    "an object of nulls": lambda path: path.write_text(
        '{"arm": null, "round": null, "facts": null, "arms": null}'
    ),
    "deep JSON": lambda path: path.write_text("[" * 200_000),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe\x00" * 100),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "missing": lambda path: path.unlink(),
    "twice as long": lambda path: path.write_bytes(path.read_bytes() * 2),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}
TYPES: tuple[Any, ...] = (None, True, -1, 1.5, "text", [], {}, [[1]], 10**30)


def damage(count: int, draw: np.random.Generator, place: Path, tally: Tally) -> None:
    """Each file in each way, and each value of each JSON file as another type, ``count`` of them
    drawn. Then resume, and the report."""
    short, expected = _two_lengths(place)
    (short / ".lock").touch()
    names = sorted(path.relative_to(short) for path in short.rglob("*") if path.is_file())
    strikes: list[tuple[str, Path, Callable[[Path], object]]] = [
        (f"{name} is {kind}", name, strike) for name in names for kind, strike in DAMAGE.items()
    ]
    for name in names:
        if name.suffix == ".json":
            strikes += [
                (f"{name}: {'.'.join(map(str, at))} is {value!r}", name, _setter(at, value))
                for at in _places(json.loads((short / name).read_text()))
                for value in TYPES
            ]
    for number in draw.permutation(len(strikes))[:count]:
        cause, name, strike = strikes[number]
        folder = place / "struck"
        for work in (partial(_longer, folder, expected), partial(_reported, folder)):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(short, folder)
            strike(folder / name)
            tally.attempt(work, cause)


def _places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths to the values of a JSON document; of a list, to its first element only."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:1])
        if isinstance(value, list)
        else ()
    )
    if at:
        yield at
    for key, item in inside:
        yield from _places(item, (*at, key))


def _setter(at: tuple[str | int, ...], new: Any) -> Callable[[Path], object]:
    def strike(path: Path) -> None:
        document = json.loads(path.read_text())
        place = document
        for key in at[:-1]:
            place = place[key]
        place[at[-1]] = new
        path.write_text(json.dumps(document))

    return strike


def _reported(folder: Path) -> str:
    return "same" if report([str(folder)]) == 0 else "refused"


# --- input files ----------------------------------------------------------------------------------


def files(count: int, draw: np.random.Generator, place: Path, tally: Tally) -> None:
    """Tables and graphs in which some bytes are others: read, or refused, within seconds and
    without a traceback.
    """
    who = np.repeat(np.arange(12), 20)
    frame = pd.DataFrame(draw.normal(size=(240, 3)), columns=list("abc"))
    frame = frame.assign(label=draw.integers(0, 3, 240), person=who)
    frame.to_csv(place / "t.csv", index=False)
    frame.to_parquet(place / "t.parquet")
    frame.to_json(place / "t.jsonl", orient="records", lines=True)
    np.savez_compressed(
        place / "t.npz", x=frame[list("abc")].to_numpy(), label=frame["label"].to_numpy()
    )
    graph = nx.watts_strogatz_graph(12, 4, 0.3, seed=1)
    nx.write_edgelist(graph, place / "g.txt", data=False)
    nx.write_graphml(graph, place / "g.graphml")
    (place / "g.json").write_text(json.dumps(nx.node_link_data(graph, edges="links")))
    sources = sorted(path for path in place.iterdir() if path.is_file())
    for number in range(count):
        source = sources[number % len(sources)]
        struck = place / "struck" / source.name
        struck.parent.mkdir(exist_ok=True)
        data = bytearray(source.read_bytes())
        for _ in range(int(draw.integers(1, 6))):
            at = int(draw.integers(len(data)))
            data[at] = int(draw.integers(256))
        if draw.random() < 0.2:
            data = data[: int(draw.integers(1, len(data)))]
        struck.write_bytes(data)
        table = [f"data.path={struck}", "data=table", "partition=iid"]
        given = (
            table if source.name.startswith("t.") else [f"topology.path={struck}", "topology=file"]
        )
        tally.attempt(partial(_checked, given), f"{source.name}, strike {number}")


def _checked(overrides: list[str]) -> str:
    runner.check(config("rounds=1", *overrides))
    return "read"
