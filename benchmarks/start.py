"""Where the time of the default run goes, stage by stage, and when its first record is there.

    python benchmarks/start.py                          # this checkout
    python benchmarks/start.py --other DIR --pairs 5    # and another one in turn, with the ratios
    python benchmarks/start.py tracker=none devices=50  # of another run

Each run is a process of its own. A stage has seconds of its main thread's processor time, which a
busy machine changes little, and of the wall, without the stages inside of it; work on other threads
and in other processes (W&B's) is not in it. The medians are printed with their ranges. Modules are
compiled once, beforehand, into a folder that all runs share, as an installation leaves them.
"""

from __future__ import annotations

import argparse
import builtins
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
PARTS: dict[str, list[tuple[str, str]]] = {  # stage: the functions whose time it has
    "compose": [
        ("swarm.config.composing.compose:Composer", "__init__"),
        ("swarm.config.composing.compose:Composer", "compose"),
    ],
    "data": [("swarm.experiments.runs.prepared", "load_data")],
    "memory check": [("swarm.experiments.runs.memory", "footprint")],
    "rates": [("swarm.experiments.runs.arms", "search_lr")],
    "arms": [("swarm.experiments.runs.arms", "_run_arm")],
    "checkpoints": [
        ("swarm.results.folder.arm_files:ArmFiles", "save"),
        ("swarm.results.folder.arm_files:ArmFiles", "restore"),
    ],
    "summary": [("swarm.experiments.runs.arms", "_summary")],
    "pictures and page": [("swarm.experiments.runs.run", "_drawn")],
    "tracker": [
        ("swarm.results.track.wandb:WandbTracker", name)
        for name in ("start", "record", "finish", "conclude", "attach", "close")
    ],
}


class Stages:
    """Seconds of the main thread by stage: ``[wall, processor]``, each without the stages inside."""

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = {}
        self._inside: list[list[float]] = []

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, whose time in the main thread belongs to ``stage``."""

        def call(*args: Any, **named: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return work(*args, **named)
            began = time.perf_counter(), time.thread_time()
            self._inside.append([0.0, 0.0])
            try:
                return work(*args, **named)
            finally:
                ended = time.perf_counter(), time.thread_time()
                inside, sums = self._inside.pop(), self.found.setdefault(stage, [0.0, 0.0])
                for k in range(2):
                    sums[k] += ended[k] - began[k] - inside[k]
                    if self._inside:
                        self._inside[-1][k] += ended[k] - began[k]

        return call


def one(tree: str, out: str, words: list[str]) -> int:
    """Run the command of the checkout ``tree`` in this process, and write its stages to ``out``."""
    sys.path.insert(0, tree)
    stages, born = Stages(), float(os.environ["BORN"])
    first: list[float] = []
    importing, depth = builtins.__import__, [0]
    timed_import = stages.timed("imports", importing)

    def imported(name: str, *rest: Any, **named: Any) -> Any:  # the outermost import only
        if threading.current_thread() is not threading.main_thread():
            return importing(name, *rest, **named)
        depth[0] += 1
        try:
            known = name in sys.modules or depth[0] > 1
            return (importing if known else timed_import)(name, *rest, **named)
        finally:
            depth[0] -= 1

    def patched(early: bool) -> None:
        for stage, places in PARTS.items():
            for place, name in places if early == (stage == "compose") else ():
                module, _, cls = place.partition(":")
                owner = import_module(module)
                owner = getattr(owner, cls) if cls else owner
                setattr(owner, name, stages.timed(stage, getattr(owner, name)))
        if early:
            return
        sink = import_module("swarm.results.track.jsonl").JsonlSink
        record = sink.record

        def recorded(self: Any, values: dict[str, Any]) -> None:
            record(self, values)
            first.append(time.time() - born)

        sink.record = recorded

    def whole() -> int:
        main = import_module("swarm.cli.main")
        check = main._checked
        patched(early=True)

        def checked(cfg: Any) -> Any:
            import_module("swarm.experiments.runner")
            patched(early=False)
            return check(cfg)

        main._checked = checked
        return int(main.main(words))

    builtins.__import__ = imported
    code = int(stages.timed("all else", whole)())
    used = resource.getrusage(resource.RUSAGE_SELF)
    own = {"wall": time.time() - born, "processor": used.ru_utime + used.ru_stime}
    facts = {"stages": stages.found, "first record": first[0] if first else None, **own}
    Path(out).write_text(json.dumps(facts))
    return code


def started(tree: Path, words: list[str], compiled: Path) -> dict[str, Any]:
    """What one run of the checkout ``tree`` has measured, in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONPATH": "", "WANDB_MODE": "offline"}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "stages.json"
        command = [sys.executable, __file__, "--run", str(tree), str(out)]
        subprocess.run(
            [*command, *words, f"hydra.run.dir={place}/run"],
            env=environment | {"BORN": repr(time.time())},
            stdout=subprocess.DEVNULL,
            timeout=1200,
            check=True,
        )
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def spread(values: list[float]) -> str:
    """The median with the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> int:
    if sys.argv[1:2] == ["--run"]:
        return one(sys.argv[2], sys.argv[3], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", type=Path, help="another checkout, which takes turns with this")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("words", nargs="*", help="settings of the run, KEY=VALUE")
    args = parser.parse_args()
    trees = [tree for tree in (args.other, HERE) if tree is not None]
    found: dict[Path, list[dict[str, Any]]] = {tree: [] for tree in trees}
    with tempfile.TemporaryDirectory() as compiled:
        for turn in range(args.pairs + 1):
            for tree in trees:
                facts = started(tree.absolute(), args.words, Path(compiled))
                found[tree] += [facts] * (turn > 0)  # the first turn compiles
    for name in ("first record", "wall", "processor"):
        print(f"{name:20}", *(f"{spread([f[name] for f in found[tree]]):>22}" for tree in trees))
    for stage in [*PARTS, "imports", "all else"]:
        for k, kind in enumerate(("wall", "processor")):
            runs = [[f["stages"].get(stage, [0.0, 0.0])[k] for f in found[tree]] for tree in trees]
            print(f"{stage + ', ' + kind:28}", *(f"{spread(each):>22}" for each in runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
