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
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # however this file is run

import numpy as np
from omegaconf import OmegaConf

from benchmarks.damaged_files import damage, files, flips
from benchmarks.strikes import DEADLINE_S, DEFECTS, ROOT, SMALL, Tally, config, judged, outcome_of
from swarm.common.errors import SwarmError
from swarm.experiments import runner

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
