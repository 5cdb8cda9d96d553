"""A reader who follows a page in a folder of her own: writes its files, types its commands.

Commands of ours run in this process, with ``SWARM_OVERRIDES`` that make them small. ``LESS`` says
what is added to which; a command that is not in it gets ``ALWAYS``. :func:`kind` says which
commands of a page are so alike that one of them runs whole and the others in part.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.cli.environment import VARIABLE
from swarm.cli.main import main
from tests.docs.elsewhere import elsewhere, less_than_whole, prepared, words_of
from tests.docs.one_ray import OneRay
from tests.docs.pages import ROOT, Block, blocks, write_files

ALWAYS = ("rounds=2", "optimizer.lr=0.1", "report=false", "tracker=none")
# What makes a command smaller than ALWAYS does: a pattern of the command, and what is added.
LESS = (
    (
        r"run-swarm .*rounds=30.* hydra.sweep.dir=multirun/graphs",
        "seed=0 rounds=2 topology=ring,complete",
    ),  # the tutorial's sweep
    (r"run-swarm devices=30|run-swarm --config-dir my_conf .*devices=30", ""),  # its figures
    (r".*data=markov", "rounds=2 devices=8 train.local_steps=1 report=false tracker=none"),
    (r".*data.path=(first|second).jsonl", "rounds=2 report=false tracker=none"),
    (r".*data=image_folder", "rounds=1 data.size=8 optimizer.lr=0.1 report=false tracker=none"),
    (r"run-swarm .*(-m|hydra.run.dir)", ""),  # those of plugins.md are small as they stand
    (r"run-swarm resume=first", ""),
    (r".*(resume=| --help|doctor| report | publish | write )", ""),
    (r".*scenario=consensus", "rounds=9 report=false tracker=none"),
    (r".*scenario=links", "scenario.jobs=1 scenario.quick.seeds=1"),
    (
        r".*scenario=(drift|NAME).* preset=full",
        "scenario.full.devices=8 scenario.full.rounds=4 scenario.full.day=1",
    ),
    (
        r".*scenario=drift",
        "scenario.jobs=1 scenario.quick.seeds=1 scenario.quick.devices=8 scenario.quick.rounds=4"
        " scenario.quick.day=1 tracker=none",
    ),
    (
        r".*scenario=resilience.* preset=full",
        "scenario.full.devices=8 scenario.full.rounds=3 scenario.full.killed=[0.5]",
    ),
    (
        r".*scenario=resilience",
        "scenario.jobs=1 scenario.quick.seeds=1 scenario.quick.devices=8 scenario.quick.rounds=3"
        " scenario.quick.killed=[0.5] tracker=none",
    ),
    (
        r".*hydra/launcher=joblib",
        "seed=0 hydra.launcher.n_jobs=1 rounds=2 optimizer.lr=0.1 'scenario.arms=[swarm]'"
        " report=false tracker=none",
    ),
    # a process for each device: 256 are refused where 12 GiB are not free
    (
        r".*engine.actors=per_device",
        "devices=8 rounds=2 optimizer.lr=0.1 'scenario.arms=[swarm]' report=false tracker=none",
    ),
    (
        r".*engine=(ray|live)",
        "rounds=2 optimizer.lr=0.1 'scenario.arms=[swarm]' report=false tracker=none",
    ),
    (
        r".*\+experiment=base_graph_accuracy",
        "rounds=2 seed=0 model=softmax partition.alpha=10 report=false tracker=none",
    ),
    (
        r".*\+experiment=(base_graph|choco_gossip|exponential_graphs|epidemic_variance)",
        "rounds=2 seed=0 devices=25 report=false tracker=none",
    ),  # which average, and have one arm
    (
        r".*\+experiment=random_quadratics",
        "rounds=2 seed=0 topology=ring 'scenario.arms=[swarm]' report=false tracker=none",
    ),
    (r".*\+experiment=", "rounds=2 seed=0 'scenario.arms=[swarm]' report=false tracker=none"),
)

# What stands for a word of a command with resume=, which heeds no SWARM_OVERRIDES.
FEWER = {"rounds=150": "rounds=3"}

# Commands that run whole wherever they stand, and those that are many runs.
OWN = re.compile(r"plugins=|launcher=|run\.dir=|resume=| --| doctor| report | publish | write ")
MANY = re.compile(r" -m |MULTIRUN|hydra\.sweeper")


class Reader:
    """Follows pages in the current folder; what a command printed last is ``out`` and ``err``."""

    def __init__(
        self, patch: pytest.MonkeyPatch, small: bool = True, ray: OneRay | None = None
    ) -> None:
        self.patch, self.small, self.ray = patch, small, ray
        self.names: dict[str, Any] = {"__name__": "__page__"}  # of the page's Python blocks
        self.out = self.err = ""
        self.ran: list[str] = []
        self.kinds: set[str] = set()  # of the commands of this page that ran whole

    def follow(self, page: str | Path) -> None:
        """Do all that a page says, in its order; AssertionError for what does not work."""
        self.kinds.clear()
        write_files(page, Path())
        for block in blocks(page):  # another page may have had a file of the same name
            sys.modules.pop(Path(block.file or "").stem, None)
        self.patch.syspath_prepend(str(Path().resolve()))
        after = [*blocks(page)[1:], None]
        for block, following in zip(blocks(page), after, strict=True):
            if block.language == "python" and not block.file:
                self.python(block.code)
            elif block.language == "bash":
                self.shell(block, following)
            elif block.language == "console":
                first, _, said = block.code.partition("\n")
                code = self.type(first.removeprefix("$ "))
                assert (code, self.err) == (2, said), first

    def shell(self, block: Block, following: Block | None) -> None:
        """Type the commands of a block, and hold what the text after it shows against them."""
        for line in lines(block.code):
            if (entry := elsewhere(line)) is not None:
                with self.patch.context() as patch:
                    less = overrides(line) if entry.check is prepared else ""
                    patch.setenv(VARIABLE, less)
                    entry.check(words_of(line), patch)
            elif block.info == "fails":
                assert self.type(line) == 2, line
            else:
                assert self.type(line) == 0, (line, self.out[-600:], self.err)
        if following and following.language == "text" and block.info == "fails":
            assert self.err == following.code

    def python(self, code: str) -> None:
        """Run a block of Python, behind those before it on the page."""
        real = swarm.run
        with self.patch.context() as patch:
            if self.small:
                less = {"rounds": 2, "optimizer": {"lr": 0.1}, "report": False, "tracker": "none"}
                patch.setattr(swarm, "run", lambda cfg, *more: real(cfg | less, *more))
            exec(compile(code, "<page>", "exec"), self.names)
        self.ran.append(code)

    def type(self, line: str) -> int:
        """Type a command; returns its exit code."""
        words, out, err = words_of(line), StringIO(), StringIO()
        self.patch.setenv(VARIABLE, overrides(line) if self.small else "")
        words = [FEWER.get(word, word) for word in words] if self.small else words
        with redirect_stdout(out), redirect_stderr(err), self.patch.context() as patch:
            if self.small:
                coarse(patch)
            if self.ray and "engine.address=auto" in words:
                patch.setenv("RAY_ADDRESS", self.ray.address())
            if (alike := kind(line)) in self.kinds and self.small:
                less_than_whole(patch)
            code = self._call(words)
        self.kinds |= {alike} - {None} if code == 0 else set()
        self.out = out.getvalue()
        self.err = "".join(
            text for text in err.getvalue().splitlines(True) if not text.startswith(VARIABLE)
        )
        self.ran.append(line)
        return code

    def _call(self, words: Sequence[str]) -> int:
        if words[0] == "run-swarm":
            return main(words[1:])
        if words[0] in ("make", ".venv/bin/pre-commit"):
            there = ["-C", str(ROOT)] if words[0] == "make" else []
            own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
            own["PRE_COMMIT_HOME"] = str(Path("pre-commit").resolve())
            done = subprocess.run([words[0], *there, *words[1:]], env=own, timeout=300, check=False)
            return done.returncode
        assert words[0] == "python", words
        if words[1] == "run_swarm.py":
            return main(words[2:])
        if words[1] == "-c":
            exec(words[2], {})
            return 0
        if words[1:3] == ["-m", "pytest"]:
            self.patch.delenv("PYTEST_XDIST_WORKER", raising=False)
            return int(pytest.main([*words[3:], "-p", "no:xdist", "-p", "no:cacheprovider", "-s"]))
        with self.patch.context() as patch:
            patch.setattr(sys, "argv", words[1:] if words[1] != "-m" else words[2:])
            try:
                if words[1] == "-m":
                    runpy.run_module(words[2], run_name="__main__")
                else:
                    runpy.run_path(words[1], run_name="__main__")
            except SystemExit as end:
                return int(end.code or 0)
        return 0


def kind(line: str) -> str | None:
    """What a command has in common with others that do the same after their preparation: one run,
    or many, of a scenario. None: nothing stands for it, as it has files of the reader's own, leaves
    a folder that is read later, or is no run.
    """
    words = line.replace("run_swarm.py", "run-swarm").removeprefix("python ")
    if not words.startswith("run-swarm ") or OWN.search(words):
        return None
    scenario = re.search(r" scenario=(\w+)", words)
    many = "experiment" if "+experiment" in words else "sweep" if MANY.search(words) else "run"
    return f"{many} of {scenario[1] if scenario else 'compare'}"


def coarse(patch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn with few pixels."""
    from matplotlib.figure import Figure

    real = Figure.savefig
    patch.setattr(Figure, "savefig", lambda self, *to, **how: real(self, *to, **how | {"dpi": 20}))


def lines(code: str) -> list[str]:
    """The commands of a block; a backslash goes on in the next line, a # begins a comment."""
    whole = code.replace("\\\n", " ").splitlines()
    return [line for line in whole if line.strip() and not line.startswith("#")]


def overrides(line: str) -> str:
    """What makes a command small, without what it says itself or what does not go with it."""
    for pattern, added in LESS:
        if re.match(pattern, line) and added is not None:
            return added
    typed = {word.partition("=")[0] for word in words_of(line)}
    sections = {key.partition(".")[0] for key in typed}
    kept = [
        word
        for word in ALWAYS
        if (key := word.partition("=")[0]) == "rounds"
        or not (key in typed or (key == "tracker" and key in sections))
    ]
    if "model=custom" in line or "model=gru" in line:
        kept = [*kept, "rounds=1", "'scenario.arms=[swarm]'"]
    if re.search(r"seed[=:] ?\W*(range|\d,)", line):
        kept.append("seed=0")
    if "MULTIRUN" in line or "sweeper" in line or (" -m " in line and "arms" not in line):
        kept.append("'scenario.arms=[swarm]'")
    swept = re.findall(r"(?<= )((?!seed|hydra)[\w.]+=\w+)(,\w+)[\w,]*(?= |$)", line)
    kept += [first + second * (i == 0) for i, (first, second) in enumerate(swept)]  # one pair
    return " ".join(kept)
