"""What strikes of benchmarks/chaos.py have in common: a small run, what it must come to, and a count of
how they ended."""

from __future__ import annotations

import contextlib
import io
import json
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from swarm.common.errors import SwarmError
from swarm.common.system import paths
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
