"""Extreme values for every key of the configuration, and what becomes of a run that is told them.

A case runs in a child process of its own, forked from this one, with a bound on its memory and on
its time: whatever it does, it ends, and its outcome is one line of JSON.
``tests/contracts/test_extremes.py`` says what may come of it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from swarm.common.system import paths
from swarm.config.settings import sections
from tests.contracts.needs import needs
from tests.support import config, groups, options

MEMORY = 3 << 30  # bytes that a case may take beyond what this process has
FREE = 1 << 30  # bytes that a case is told are free
SECONDS = 120  # for the checks, against hanging only
# a class of the user's own; files that may not be there
WITHOUT = {("model", "custom"), ("data", "custom"), ("data", "fashion_mnist"), ("data", "tff")}
AT_WORK = 3  # seconds after which a run that has begun may be taken to work
TINY = ("rounds=1", "optimizer.lr=0.05")

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 3, -0.0, 0.5, 1.0, -1.0, 5e-324, 1e-320, 2e-18, 1e-9, 1e9, 5e17, 1e39, 1e308, -1e308,
    float("inf"), float("-inf"), float("nan"),
    1000, 10**6, 10**7, 2**31, 2**53, 2**53 + 1, 2**63, 10**30, -(2**63), -(10**30),
)  # fmt: skip
FEW: tuple[Any, ...] = (0, -1, 1, 0.5, 2e-18, 1e9, 5e17, 10**6, 10**7, 2**31, 2**53)
"""Of those, the ones that are not refused everywhere for the same reasons."""
OTHERS: tuple[Any, ...] = (True, False, "", "1", "1e3", "nan", None, [], [0], [1e308], {}, {"a": 1})
TEXTS: tuple[str, ...] = (
    "", " ", "x", "x" * 256, "ü" * 200, "x" * 5000, "a/b", "../x", "/", "/dev/zero", "/dev/null", "/proc/self/mem", ".",
    "\0", "a\0b", "\udcff", "a\nb", "\u202e", "%s%n", "${seed}", "~", "*", "1", "null", "1970-01-01", "9999-12-31",
)  # fmt: skip


@dataclass(frozen=True)
class Key:
    """A key of the configuration under one option of one group (``""``: of no group), and its usual
    value.
    """

    group: str
    option: str
    path: tuple[str, ...]
    usual: Any = field(compare=False)
    target: str = ""

    @property
    def name(self) -> str:
        """As it is typed."""
        return ".".join(self.path)

    def __str__(self) -> str:
        return f"{self.group}={self.option} {self.name}" if self.group else self.name


@dataclass(frozen=True)
class Outcome:
    """``ran``, ``busy`` (and would have run on), ``refused`` (an error of ours), ``raised`` (a
    traceback) or ``hung``; before the run or in it; the text; and whether a folder is left."""

    kind: str
    stage: str
    text: str
    folder: bool = False


def _leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(values, list) and values:
        yield path, values
        yield (*path, "0"), values[0]
    elif path and path[-1] != "_target_":
        yield path, values


@cache
def keys() -> tuple[Key, ...]:
    """Every key there is, of every option of every group; where options share a class, of the
    first.
    """
    found = []
    for group in (group for group in groups() if group != "metric"):  # items of a list
        for option in options(group):
            node = yaml.safe_load(
                (paths.conf() / group / f"{option}.yaml").read_text(encoding="utf-8")
            )
            if (group, option) not in WITHOUT:
                found += [
                    Key(group, option, (group, *path), value, node["_target_"])
                    for path, value in _leaves(node)
                ]
    outside = {name: value for name, value in config().items() if name not in sections()}
    found += [Key("", "", path, value) for path, value in _leaves(outside)]
    return tuple({(key.target, key.path): key for key in reversed(found)}.values())[::-1]


def is_text(key: Key) -> bool:
    """Whether the key takes text, as far as its usual value and its name show."""
    return isinstance(key.usual, str) or key.path[-1] in (
        "path",
        "name",
        "config",
        "revision",
        "entity",
        "group",
        "init",
    )


def base(key: Key, folder: Path) -> dict[str, Any]:
    """A small run under the key's option."""
    if not key.group:
        return config(*TINY)
    return config(f"{key.group}={key.option}", *needs(key.group, key.option, folder), *TINY)


def put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the value at ``path``."""
    here: Any = values
    for part in path[:-1]:
        here = here[int(part)] if isinstance(here, list) else here[part]
    if isinstance(here, list):
        here[int(path[-1])] = value
    else:
        here[path[-1]] = value


def outcome(values: dict[str, Any], folder: Path, seconds: float = SECONDS) -> Outcome:
    """Check and run ``values`` into ``folder``, in a process of its own, and throw the folder
    away.
    """

    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _child(values, folder, write)
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as said:
        began, text = _line(said, seconds), ""
        if began == "checked":
            text = _line(said, AT_WORK)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    left = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    stage, text = ("in it", text) if began == "checked" else ("before", began)
    if text is None:
        return Outcome("busy" if stage == "in it" else "hung", stage, "", left)
    if text:
        return Outcome(**json.loads(text), stage=stage, folder=left)
    return Outcome("died", stage, f"exit status {status}", left)


def _line(said: Any, seconds: float) -> str | None:
    """A line of the child's; empty where it has ended without one, None where it takes more than so
    many seconds.
    """
    found, end = b"", time.monotonic() + seconds
    while not found.endswith(b"\n"):
        if not select.select([said], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        part = said.read(1)
        if not part:
            return ""
        found += part
    return found.decode().strip()


def _child(values: dict[str, Any], folder: Path, write: int) -> None:
    """In the child: never returns."""
    found: tuple[str, str] = ("ran", "")
    try:
        _bound_memory()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        from swarm.common.errors import SwarmError
        from swarm.experiments import runner
        from swarm.experiments.runs.prepared import PreparedRun

        warnings.simplefilter("error", RuntimeWarning)
        try:
            prepared = runner.check(values)
            os.write(write, b"checked\n")
            of_ray = tuple(f"swarm.simulation.engine.{name}." for name in ("ray", "live"))
            alone = not values["engine"]["_target_"].startswith(of_ray)
            if alone and isinstance(prepared, PreparedRun):  # of a claim the plan says all
                runner.run(values, folder, prepared)
        except SwarmError as error:
            found = "refused", str(error)
    except BaseException:
        found = "raised", traceback.format_exc()[-6000:]
    try:
        os.write(write, json.dumps({"kind": found[0], "text": found[1]}).encode() + b"\n")
    finally:
        os._exit(0)


def _bound_memory() -> None:
    import swarm.common.system.machine
    import swarm.experiments.runs.memory
    import swarm.simulation.experiment.checks.model

    asked = swarm.common.system.machine.available_bytes
    for module in list(sys.modules.values()):  # whoever has imported it by name has its own
        if vars(module).get("available_bytes") is asked:
            module.available_bytes = lambda: FREE  # type: ignore[attr-defined]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def wrong(key: Key, value: Any, found: Outcome) -> str | None:
    """What is wrong with what has come of ``value``; None: nothing."""
    if found.kind in ("raised", "hung", "died"):
        return found.kind
    if found.kind == "refused":
        if found.stage != "before" or found.folder:
            return "refused after the start"
        if "\n" in found.text:
            return "more than one line"
        own = [part for part in key.path if not part.isdigit()]
        above = [".".join(own[:n]) + "=" for n in range(1, len(own))]
        # a section as a whole would do; memory is taken by many keys together
        named = (own[-1], *above, "GiB")
        quoted = isinstance(value, str) and value and value in found.text
        if not quoted and not any(name in found.text for name in named):
            return "does not name the key"
    return None


def main() -> None:
    """Every key with every value, one after the other: ``python -m tests.contracts.extremes [WORD
    …]``.
    """
    import tempfile

    words = sys.argv[1:]
    values = {"few": FEW, "numbers": NUMBERS, "others": OTHERS, "texts": TEXTS}
    which = [word for word in words if word in values] or ["numbers", "others", "texts"]
    words = [word for word in words if word not in values]
    count = bad = 0
    with tempfile.TemporaryDirectory() as place:
        for number, key in enumerate(keys()):
            if words and not any(word in str(key) for word in words):
                continue
            home = Path(place) / str(number)
            home.mkdir()
            small = json.dumps(base(key, home))
            seen: set[str] = set()
            tried = [v for w in which for v in values[w] if w != "texts" or is_text(key)]
            for value in tried:
                cfg = json.loads(small)
                put(cfg, key.path, value)
                began = time.monotonic()
                found = outcome(cfg, home / "run")
                count += 1
                said = wrong(key, value, found)
                took = time.monotonic() - began
                if said or took > AT_WORK + 10:
                    bad += 1
                    last = (
                        found.text.strip().splitlines()[-1:]
                        if found.kind == "raised"
                        else [found.text]
                    )
                    where = [
                        line.strip()
                        for line in found.text.splitlines()
                        if "/swarm/" in line or "/scenarios/" in line
                    ]
                    if (
                        why := f"{said} {where[-1:]} {found.text[:40] if not where else ''}"
                    ) in seen:
                        continue
                    seen.add(why)
                    print(
                        f"{key} = {str(value)[:40]!r}: {said} [{found.stage}, {took:.1f} s]"
                        f" {' '.join(last)[:300]} {where[-1:]}",
                        flush=True,
                    )
            shutil.rmtree(home)
    print(f"{count} cases, {bad} wrong")


if __name__ == "__main__":
    main()
