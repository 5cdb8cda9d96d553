"""Offline W&B runs as W&B itself reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def inspected(part: Path) -> list[dict[str, Any]]:
    """The records of an offline run's transaction log, read back with W&B's own tool: what
    ``wandb leet inspect`` starts after some seconds of importing.
    """
    from wandb.util import get_core_path

    (log,) = part.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file"]
    text = subprocess.run(
        [*command, str(log), str(part.parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=part,
    ).stdout
    return [json.loads(line) for line in text.splitlines()]


def history(part: Path) -> list[dict[str, Any]]:
    """The rounds in an offline run's log."""
    return [record["history"]["item"] for record in inspected(part) if "history" in record]


def laid_over(part: Path, kind: str) -> dict[str, Any]:
    """What an offline run ends with as its ``summary``, or has as its ``config``."""
    records = inspected(part)
    updates = [r["run"]["config"] if kind == "config" else r["summary"] for r in records if r["type"] in ("run", "summary")
               and (r["type"] == "run") == (kind == "config")]  # fmt: skip
    return {key: value for update in updates for key, value in update["update"].items()}


def by_arm(folder: Path) -> dict[str, Path]:
    """The one offline run of each arm."""
    found = {}
    for arm, name in json.loads((folder / "wandb.json").read_text()).items():
        (found[arm],) = (part for part in (folder / "wandb").glob(f"*offline-run-*-{name}*"))
    return found


def outside(script: str, *arguments: str, **said: str) -> None:
    """Runs a script in a process of its own, in which the environment says of W&B what is
    ``said``.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | said
    subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=180, env=environment,
                   cwd=Path(__file__).parents[3], check=True)  # fmt: skip


ENVIRONMENT = {"WANDB_PROJECT": "their-project", "WANDB_ENTITY": "their-team", "WANDB_RUN_GROUP": "their group",
               "WANDB_TAGS": "one, two"}  # fmt: skip
