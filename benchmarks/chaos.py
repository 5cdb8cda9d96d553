"""Kill runs, damage their files, race them and feed them nonsense, and count what becomes of each.

    python benchmarks/chaos.py                        # a few of each kind: about five minutes
    python benchmarks/chaos.py kills --count 60       # kill -9 at random moments, then resume
    python benchmarks/chaos.py flips --count 12000    # one bit of a run folder, then resume
    python benchmarks/chaos.py damage --count 5000    # every file of a run folder, in every way, then resume and report
    python benchmarks/chaos.py races --count 30       # several processes start into one new folder at once
    python benchmarks/chaos.py files --count 500      # damaged tables and graphs as input

A strike ends in one of four ways. *Same*: the run came to its end with the bits of an undisturbed
one. *Refused*: one sentence, no traceback. *Traceback* and *silently wrong* are defects; their
causes are printed and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import networkx as nx
import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import swarm
from swarm.cli.report import main as report
from swarm.common.errors import SwarmError
from swarm.common.system import paths
from swarm.experiments import runner
from swarm.results.track.jsonl import read_jsonl

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_S = 300.0
SMALL = (
    "devices=12",
    "topology=ring",
    "model=softmax",
    "optimizer.lr=0.1",
    "evaluate.every=1",
    "checkpoint.every=1",
    "train.batch=8",
    "train.local_steps=2",
    "tracker=none",
    "report=false",
    "scenario.arms=[swarm,isolated]",
)
DEFECTS = ("traceback", "silently wrong")


class Tally:
    """How many strikes ended in which way, and what the defects were."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()

    def add(self, outcome: str, cause: str = "") -> None:
        """Count one more strike."""
        self.counts[outcome] += 1
        if outcome in DEFECTS:
            self.causes[f"{outcome}: {cause}"] += 1

    def attempt(self, work: Callable[[], str], cause: str) -> None:
        """Make a strike, and count whether it ends as ``work`` returns, in a refusal, or in a traceback.

        ``cause`` says what was done.
        """
        out = io.StringIO()
        try:
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(out),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                outcome = work()
        except SwarmError:
            outcome = "refused"
        except (Exception, SystemExit) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            self.add("traceback", f"{cause}: {type(error).__name__} in {where}: {str(error)[:120]}")
            return
        self.add(outcome, cause)


def config(*overrides: str) -> dict[str, Any]:
    """The resolved config of the small run with these overrides."""
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        composed = compose("config", overrides=[*SMALL, *overrides])
    return dict(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]


def outcome_of(folder: Path) -> dict[str, Any]:
    """What must be equal in two runs that are one: hashes, records without wall times, and the
    devices' rows.
    """
    arms = json.loads((folder / "summary.json").read_text())["arms"]
    records = [
        {key: value for key, value in record.items() if not key.startswith("wall_s")}
        for record in read_jsonl(folder / "metrics.jsonl")
    ]
    devices = pd.read_parquet(folder / "devices.parquet").sort_values(["arm", "round", "device"])
    return {
        "hashes": {name: arm["params_sha256"] for name, arm in arms.items()},
        "records": sorted(records, key=lambda r: (str(r["arm"]), r["round"])),
        "devices": devices.to_json(orient="records"),
    }


def judged(folder: Path, expected: dict[str, Any]) -> str:
    """Whether a run folder has what an undisturbed run has."""
    found = outcome_of(folder)
    return "same" if found == expected else "silently wrong"


# --- kills ----------------------------------------------------------------------------------------


def kills(count: int, draw: np.random.Generator, place: Path, tally: Tally) -> None:
    """Kill a run at a random moment, perhaps again during the resume, then let it end."""
    settings = [
        *SMALL,
        "rounds=30",
        "lr_search.rounds=10",
        "optimizer.lr=auto",
        "lr_search.lrs=[0.1,0.3]",
        "report=true",
    ]
    start = time.monotonic()
    _command(place / "whole.log", *settings, f"hydra.run.dir={place / 'whole'}").wait(DEADLINE_S)
    seconds = time.monotonic() - start
    expected = outcome_of(place / "whole")
    for number in range(count):
        folder = place / f"kill{number}"
        log = place / f"kill{number}.log"
        strikes = 1 + int(draw.random() < 0.3)
        for _ in range(strikes):
            begun = (folder / "config.yaml").exists()
            words = [f"resume={folder}"] if begun else [*settings, f"hydra.run.dir={folder}"]
            process = _command(log, *words)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(float(draw.uniform(0, 1.1 * seconds)))
            process.send_signal(signal.SIGKILL)
            process.wait(DEADLINE_S)
        begun = (folder / "config.yaml").exists()
        words = [f"resume={folder}"] if begun else [*settings, f"hydra.run.dir={folder}"]
        code = _command(log, *words).wait(DEADLINE_S)
        text = log.read_text(errors="replace")
        if "Traceback" in text or code:
            tally.add(
                "traceback",
                f"kill {number}: exit code {code}: {text.strip().splitlines()[-1][:160]}",
            )
            continue
        missing = [name for name in ("report.html", "curves.png") if not (folder / name).exists()]
        stray = [str(path.name) for path in folder.rglob("*.tmp")]
        wrong = f"lacks {missing}, left {stray}" if missing or stray else ""
        outcome = "silently wrong" if wrong else judged(folder, expected)
        tally.add(outcome, f"kill {number}: {wrong or 'other numbers'}")
        shutil.rmtree(folder)


def _command(log: Path, *words: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "run_swarm.py"), *words], stdout=file, stderr=file
        )


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


# --- races ----------------------------------------------------------------------------------------


def races(count: int, draw: np.random.Generator, place: Path, tally: Tally) -> None:
    """Four processes, each with a seed of its own, start into one new folder at once: one of them
    owns it.
    """
    context = multiprocessing.get_context("fork")
    for number in range(count):
        folder = place / f"race{number}"
        seeds = draw.integers(1000, size=4).tolist()
        barrier, results = context.Barrier(len(seeds)), context.SimpleQueue()
        racers = [
            context.Process(
                target=_race, args=(config("rounds=2", f"seed={seed}"), folder, barrier, results)
            )
            for seed in seeds
        ]
        for racer in racers:
            racer.start()
        ends = [results.get() for _ in racers]
        for racer in racers:
            racer.join(DEADLINE_S)
        winners = [seed for seed, end in ends if end == "ran"]
        crashes = [end for _, end in ends if end not in ("ran", "refused")]
        if crashes:
            tally.add("traceback", crashes[0])
        elif len(winners) != 1 or _seeds_in(folder) != {
            "config": winners[0],
            "summary": winners[0],
        }:
            tally.add(
                "silently wrong",
                f"the winners have the seeds {winners}, the folder {_seeds_in(folder)}",
            )
        else:
            tally.add("one winner")


def _seeds_in(folder: Path) -> dict[str, int]:
    """The seeds whose config and whose results a folder holds."""
    found = {"config": OmegaConf.load(folder / "config.yaml").seed}
    summary = folder / "summary.json"
    return found | (
        {"summary": json.loads(summary.read_text())["seed"]} if summary.exists() else {}
    )


def _race(cfg: dict[str, Any], folder: Path, barrier: Barrier, results: Any) -> None:
    prepared = runner.check(cfg)
    barrier.wait(DEADLINE_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            runner.run(cfg, folder, prepared)
    except SwarmError:
        end = "refused"
    except Exception as error:
        end = f"{type(error).__name__}: {error}"
    else:
        end = "ran"
    results.put((cfg["seed"], end))


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


KINDS: dict[str, tuple[Callable[[int, np.random.Generator, Path, Tally], None], int]] = {
    "kills": (kills, 4),
    "flips": (flips, 300),
    "damage": (damage, 200),
    "races": (races, 5),
    "files": (files, 140),
}


def main() -> int:
    """Returns 1 if any strike ended in a traceback or went wrong without a word."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help=f"which of {', '.join(KINDS)}; all by default"
    )
    parser.add_argument("--count", type=int, help="how many strikes of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    defects = 0
    for kind in given.kinds or KINDS:
        strike, usual = KINDS[kind]
        tally = Tally()
        with tempfile.TemporaryDirectory(prefix=f"chaos-{kind}-") as place:
            strike(given.count or usual, np.random.default_rng(given.seed), Path(place), tally)
        counts = ", ".join(
            f"{number:,} {outcome}" for outcome, number in sorted(tally.counts.items())
        )
        print(f"{kind}: {counts}", flush=True)
        for cause, number in tally.causes.most_common(30):
            print(f"  {number} × {cause}", flush=True)
        defects += sum(tally.counts[outcome] for outcome in DEFECTS)
    return int(defects > 0)


if __name__ == "__main__":
    sys.exit(main())
