"""The commands of the pages that a test cannot run, why, and what is checked of them instead.

Every other command is run as it is written: see :mod:`tests.docs.reader`.
"""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import click
import pytest

import swarm.cli.main
from swarm.config.settings import Settings
from swarm.experiments.runner import Prepared
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.sweep.plan import SweepPlan
from tests.docs.pages import ROOT

# What a reader puts in the place of a word in capitals. The folders are those of ``finished``.
STANDS_FOR = {
    "RUN RUN … [--html FILE] [--png FILE] [--csv FILE]":
        "outputs/first outputs/other --html a.html --png a.png --csv a.csv",
    "resume=FOLDER": "resume=outputs/first",
    "scenario=NAME": "scenario=drift",
}  # fmt: skip
Check = Callable[[Sequence[str], pytest.MonkeyPatch], None]


CHECKED: set[tuple[str, ...]] = set()


def nothing(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """There is nothing to look up."""


def less_than_whole(patch: pytest.MonkeyPatch) -> None:
    """Commands from here on are checked whole. Of a run only the first arm then runs; sweeps and
    claims end where their runs would begin."""
    whole = swarm.cli.main.run_once

    def first_arm(composer: Any, cfg: Any, plan: Prepared) -> int:
        if not isinstance(plan, PreparedRun):
            return 0
        return whole(composer, cfg, replace(plan, arms=plan.arms[:1]))

    only_prepare(patch)
    patch.setattr(swarm.cli.main, "run_once", first_arm)


def only_prepare(patch: pytest.MonkeyPatch) -> None:
    """Commands from here on are composed and checked, and end where their runs would begin."""
    patch.setattr(swarm.cli.main, "run_once", lambda *_: 0)

    def planned(composer: Any, cfg: Any, overrides: Any, complain: Any) -> int:
        wrong = [job for job in SweepPlan.make(composer, cfg, overrides).jobs if job.cause]
        for job in wrong:
            print(f"error: {job.cause} (in the job {job.title})", file=sys.stderr)
        return int(bool(wrong))

    patch.setattr("swarm.experiments.sweep.sweep", planned)


def composed(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """The run is composed, and its settings are parsed; of a sweep, what its runs share."""
    patch.setattr(swarm.cli.main, "_checked", Settings.parse)
    patch.setattr(swarm.cli.main, "run_once", lambda *_: 0)
    patch.setattr("swarm.experiments.sweep.sweep", lambda *_: 0)
    assert swarm.cli.main.main([*words[words.index("run_swarm.py") + 1 :]]) == 0


def prepared(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """The run is composed, its data read, each arm built and checked; it is not started."""
    if tuple(words) in CHECKED:  # on another page
        return
    CHECKED.add(tuple(words))
    only_prepare(patch)
    settings = ["engine.address=null" if w == "engine.address=auto" else w for w in words]
    assert swarm.cli.main.main(settings[settings.index("run_swarm.py") + 1 :]) == 0


def target(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """``make -n`` knows the target."""
    done = subprocess.run(
        ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def extra(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """``pip install '.[NAME]'`` names an extra of pyproject.toml."""
    (found,) = re.findall(r"^\.\[(\w+)\]$", words[-1])
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert found in known["project"]["optional-dependencies"]


def parsed(module: str, group: str) -> Check:
    """The program of another project has the command, and takes these options and arguments."""

    def check(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
        start = words.index(group.split(".")[0])
        command: Any = importlib.import_module(module)
        command = getattr(command, "cli")  # noqa: B009 - modules have no such attribute for mypy
        rest = [word for word in words[start + 1 :] if word not in (";", "+")]
        rest = ["." if re.search(r"^{}$|/wandb", word) else word for word in rest]  # they exist
        assert rest[0] in command.commands, f"{group} has no command {rest[0]}"
        while isinstance(command, click.Group) and rest[0] in command.commands:
            name, rest = rest[0], rest[1:]
            command = command.commands[name]
        command.make_context(command.name, list(rest))

    return check


def parsed_by_ray(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """As :func:`parsed`, in a process of its own: where Ray is imported, no run can set it up."""
    code = "import sys; from tests.docs.elsewhere import parsed;"
    code += " parsed('ray.scripts.scripts', 'ray')(sys.argv[1:], None)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def arguments(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """A script of benchmarks/ takes these arguments: it gets as far as its first run."""

    class ParsedError(Exception):
        pass

    import argparse

    read = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: Any, **named: Any) -> Any:
        read(self, *given, **named)
        raise ParsedError

    patch.setattr(argparse.ArgumentParser, "parse_args", stop)
    script = words[2:]
    patch.setattr(sys, "argv", list(script))
    patch.syspath_prepend(str(ROOT))
    patch.delitem(sys.modules, script[0], raising=False)  # where another test has imported it
    with pytest.raises(ParsedError):
        runpy.run_module(script[0], run_name="__main__")


def published(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """``publish`` takes these words, and says that the folder is not there."""
    assert swarm.cli.main.main([*words[words.index("publish") :]]) == 2


class Elsewhere(NamedTuple):
    """Commands that ``pattern`` matches are not run, because of ``reason``."""

    pattern: str
    reason: str
    check: Check


ELSEWHERE = (
    Elsewhere(r"make (?!help)", "makes an environment from the package index, or lasts minutes", target),
    Elsewhere(r"source |export ", "sets up the reader's own shell", nothing),
    Elsewhere(r"pip install", "installs from the package index", extra),
    Elsewhere(r"ssh ", "needs a second machine", nothing),
    Elsewhere(r"ray job", "needs a cluster with Ray's job server", prepared),
    Elsewhere(r"ray ", "starts servers on several machines", parsed_by_ray),
    Elsewhere(
        r"wandb |find .*wandb sync", "needs an account and the network, or a terminal",
        parsed("wandb.cli.cli", "wandb"),
    ),
    Elsewhere(r".* publish ", "publishes claims that were judged in full: an hour", published),
    Elsewhere(r"python -m benchmarks", "lasts minutes", arguments),
    Elsewhere(
        r".*scenario=all", "judges six claims, whose budgets are in their files: five minutes",
        composed,
    ),
    Elsewhere(
        r".*scenario=.*preset=full", "judges under at least five seeds: dozens of runs, as"
        " tests/experiments/claims do for a tiny claim", prepared,
    ),
)  # fmt: skip


def elsewhere(line: str) -> Elsewhere | None:
    """The entry of the table that a command falls under; None: the command is run."""
    return next((entry for entry in ELSEWHERE if re.match(entry.pattern, line)), None)


def words_of(line: str) -> list[str]:
    """The words of a command as a shell has them, without its comment and redirection."""
    for placeholder, meant in STANDS_FOR.items():
        line = line.replace(placeholder, meant)
    return shlex.split(line.partition(" </dev/null")[0], comments=True)
