"""``python run_swarm.py doctor [KEY=VALUE …]`` lists what is installed, what is missing, and what
to do about it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.system.machine import available_bytes, cores
from swarm.data.fetch import dataset_cache as fetched
from swarm.data.fetch.fetch import ALL
from swarm.results.track.units import human_bytes

HELP = """\
List what is installed, what is missing, and what to do about it, and say whether a run of these
settings would work. Nothing is written."""
GOOD, OPTIONAL, BAD = "ok", "–", "missing"
_STYLE = {GOOD: "green", OPTIONAL: "dim", BAD: "bold red"}
OLDEST = (3, 11)  # the oldest Python that works
_ROOM = 200 << 20  # bytes that a few runs take


@dataclass(frozen=True)
class Finding:
    """One line of the table: ``what`` was checked, its ``state``, what was ``found``, and the
    ``remedy`` if there is one."""

    what: str
    state: str
    found: str
    remedy: str = ""


def examine(overrides: Sequence[str] = ()) -> list[Finding]:
    """Check everything; returns the findings in the order of the table.

    The last finding says whether ``run_swarm.py OVERRIDES`` would work.
    """
    return [*_software(), *_machine(), *_engines(), *_trackers(), *_data(), _run(overrides)]


def main(overrides: Sequence[str] = (), console: Console | None = None) -> int:
    """Print the findings; returns the exit code, 0 if the run would work, else 1.

    The run is the one that the words would start, so those of ``SWARM_OVERRIDES`` are added.

    Raises :class:`SwarmError` for a word that is not KEY=VALUE, and for ``resume``.
    """
    from swarm.cli.environment import with_environment
    from swarm.config.composing.overrides import parse

    if {"-h", "--help"} & set(overrides):
        print(f"usage: python run_swarm.py doctor [-h] [KEY=VALUE ...]\n\n{HELP}")
        return 0
    for override in parse(list(overrides)):
        if override.key_or_group == "resume" and override.value() is not None:
            raise ConfigError(
                "resume",
                override.value(),
                "cannot be checked: doctor says whether a new run would work",
            )
    overrides = with_environment(overrides)
    console = console or Console()
    findings = examine(overrides)
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        text = one.found + (f"; {one.remedy}" if one.remedy else "")
        table.add_row(one.what, Text(one.state, style=_STYLE[one.state]), Text(text))
    console.print(table)
    bad = [one for one in findings if one.state == BAD]
    what = " ".join(["run_swarm.py", *overrides])
    if bad:
        names = ", ".join(one.what for one in bad)
        console.print(
            f"{what} would not work: {names}", markup=False, highlight=False, soft_wrap=True
        )
        return 1
    console.print(f"{what} would work", markup=False, highlight=False, soft_wrap=True)
    return 0


def _software() -> Iterator[Finding]:
    enough = sys.version_info[:2] >= OLDEST
    remedy = "" if enough else "install 3.11 or newer"
    yield Finding("python", GOOD if enough else BAD, platform.python_version(), remedy)
    wanted = _requirements()
    if not wanted:
        yield Finding(
            "swarm-sim",
            OPTIONAL,
            "not installed, run from its folder",
            "pip install -e . checks its requirements",
        )
    for name, specifier in wanted:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, BAD, "not installed", f"pip install '{name}{specifier}'")
            continue
        from packaging.specifiers import SpecifierSet

        fits = SpecifierSet(specifier).contains(version, prereleases=True)
        yield Finding(
            name, GOOD if fits else BAD, version, "" if fits else f"pip install '{name}{specifier}'"
        )


def _requirements() -> list[tuple[str, str]]:
    """The packages that an ordinary installation needs: their names and versions."""
    from packaging.requirements import Requirement

    try:
        listed = importlib.metadata.requires("swarm-sim") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    parsed = [Requirement(text) for text in listed]
    return [
        (one.name, str(one.specifier))
        for one in parsed
        if one.marker is None or one.marker.evaluate({"extra": ""})
    ]


def _machine() -> Iterator[Finding]:
    count = cores()
    yield Finding(
        "cores",
        GOOD,
        f"{count} to use",
        "engine=ray uses all of them, engine=local 1" if count > 1 else "",
    )
    free = available_bytes()
    yield Finding("memory", GOOD, f"{human_bytes(free)} free" if free is not None else "not known")
    device = _accelerator()
    yield Finding("accelerator", GOOD if device else OPTIONAL, device or "none that torch can use",
                  "compute.device=cuda uses it" if device else "runs use the CPU")  # fmt: skip
    compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    yield Finding(
        "C++ compiler",
        GOOD if compiler else OPTIONAL,
        compiler or "none",
        "" if compiler else "only compute.compile=true needs one (Debian: apt install g++)",
    )
    here = Path.cwd()
    room = shutil.disk_usage(here).free
    if not os.access(here, os.W_OK):
        yield Finding(
            "this folder",
            BAD,
            f"{here} cannot be written",
            "choose another, or hydra.run.dir=FOLDER",
        )
    else:
        yield Finding(
            "this folder",
            GOOD if room > _ROOM else BAD,
            f"{human_bytes(room)} free in {here}",
            "" if room > _ROOM else "make room, or choose another by hydra.run.dir=FOLDER",
        )


def _accelerator() -> str | None:
    try:
        import torch
    except ImportError:
        return None  # the requirements already list it as missing
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None


def _engines() -> Iterator[Finding]:
    """Check what Ray needs, without starting it, which would take seconds."""
    if importlib.util.find_spec("ray") is None:
        return  # the requirements already list it as missing
    store = Path("/dev/shm")
    if not store.is_dir():
        yield Finding(
            "engine=ray",
            OPTIONAL,
            "no /dev/shm",
            "Ray will keep its objects in files, which is slower",
        )
        return
    room = shutil.disk_usage(store).free
    few = room < 1 << 30
    remedy = (
        "less than 1 GiB: Ray will keep its objects in files, which is slower (Docker:"
        " --shm-size=2g)"
        if few
        else ""
    )
    yield Finding(
        "engine=ray",
        OPTIONAL if few else GOOD,
        f"{human_bytes(room)} free in {store} for its objects",
        remedy,
    )


def _trackers() -> Iterator[Finding]:
    yield Finding(
        "tracker=wandb",
        GOOD if importlib.util.find_spec("wandb") else BAD,
        "offline unless tracker.mode=online",
        "online needs `wandb login` once; tracker=none needs nothing",
    )
    there = importlib.util.find_spec("tensorboardX") is not None
    yield Finding(
        "tracker=tensorboard",
        GOOD if there else OPTIONAL,
        "tensorboardX" + ("" if there else " is not installed"),
        "" if there else "pip install '.[tensorboard]' brings it",
    )


def _data() -> Iterator[Finding]:
    """Check which data sets are there: those of packages, fetched ones, and the package of the
    hub."""
    yield Finding("data=digits", GOOD, "comes with scikit-learn")
    for name, one in ALL.items():
        place = fetched.home() / name
        there = place.is_dir()
        found = str(place) if there else f"not fetched ({one.mb[0]} MB)"
        yield Finding(
            name,
            GOOD if there else OPTIONAL,
            found,
            "" if there else f"python -m swarm.data.fetch {name}",
        )
    if importlib.util.find_spec("datasets") is None:
        yield Finding(
            "data=hf",
            OPTIONAL,
            "datasets is not installed",
            "pip install '.[hf]'; saved data sets need nothing",
        )


def _run(overrides: Sequence[str]) -> Finding:
    """Do all checks that come before a run, without running anything."""
    what = "the run" if overrides else "the default run"
    try:
        from swarm.config.composing.compose import Composer
        from swarm.config.composing.hydra_section import refuse_code_in_hydra, run_folder
        from swarm.config.composing.overrides import with_sweep_params
        from swarm.experiments import runner

        with Composer(None, None) as composer:
            cfg = composer.compose(with_sweep_params(overrides)[0])
            refuse_code_in_hydra(cfg)
            prepared = runner.check(cfg)
            run_folder(cfg)
    except (SwarmError, ImportError) as error:
        return Finding(what, BAD, " ".join(str(error).split()))
    return Finding(what, GOOD, prepared.outline)
