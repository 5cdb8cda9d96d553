"""What the pages name is there: modules and classes, files, options and keys of the config.

Names of earlier versions go on working, by way of swarm/config/aliases/. A page must not use
them, so nothing here asks Python to import a module whose file is not there.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm.common.errors import ConfigError
from swarm.config.composing.compose import compose
from swarm.config.composing.overrides import with_sweep_params
from tests.docs.pages import BLOCK, PAGES, ROOT, blocks
from tests.support import groups, options

PACKAGES = ("swarm", "scenarios")
ROOMS = sorted(place.name for place in (ROOT / "swarm").iterdir() if place.is_dir())
TOPS = (*PACKAGES, "benchmarks", "conf", "docs", "examples", "tests")
DOTTED = re.compile(r"(?<![\w./])(?:swarm|scenarios)(?:\.\w+)+")
INLINE = re.compile(r"`([^`\n]+)`")
PLACE = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*/?")
SETTINGS = re.compile(r"[\w.]+=\S+(?: [\w.]+=\S+)*")
OPTION = re.compile(r"(?<![\w.])([a-z_]+)=([a-z]\w*)(?![\w.])")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
OWN = {
    "model=net",
    "topology=bowtie",
    "model=gated",
    "protocol=relaxed",
}  # options that a page has its reader write
MADE = {"gallery.md", "settings.md"}  # by docs/site/hooks.py; `make docs` checks links to them
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".npz")  # swarm.py of run_swarm.py, and the like


def missing(name: str) -> str | None:
    """The first part of a dotted name that is not there; None: all of it is."""
    parts = name.split(".")
    place, known = ROOT / parts[0], 1
    while known < len(parts) and (
        (place / parts[known]).is_dir() or (place / f"{parts[known]}.py").is_file()
    ):
        place, known = place / parts[known], known + 1
    found = importlib.import_module(".".join(parts[:known]))
    for i, part in enumerate(parts[known:], known):
        lazy = part in getattr(found, "__all__", ())
        if not lazy and inspect.getattr_static(found, part, None) is None:
            return ".".join(parts[: i + 1])
        found = getattr(found, part)
    return None


def imported(page: Path) -> Iterator[str]:
    """What the Python blocks of a page import of ours."""
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)


def absent(text: str) -> list[str]:
    """The modules, classes, files and options that a text names and that are not there."""
    dotted = {name for name in DOTTED.findall(text) if not f".{name}".endswith(SUFFIXES)}
    bad = [name for name in sorted(dotted) if missing(name)]
    words = INLINE.findall(BLOCK.sub("", text))
    bad += [word for word in words if _is_place(word) and not _there(word)]
    chosen = OPTION.findall(" ".join(word for word in words if SETTINGS.fullmatch(word)))
    return bad + [
        f"{group}={option}"
        for group, option in chosen
        if group in groups() and option not in options(group)
    ]


def _is_place(word: str) -> bool:
    return (
        PLACE.fullmatch(word) is not None and "/" in word and word.split("/")[0] in (*TOPS, *ROOMS)
    )


def _there(word: str) -> bool:
    """Whether a path is there, from the root or from swarm/; NAME stands for any name."""
    pattern = re.sub(r"\b[A-Z]{3,}\b", "*", word.rstrip("/"))
    return any(next(base.glob(pattern), None) for base in (ROOT, ROOT / "swarm"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_files_and_options_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    own = {str(block.file) for block in blocks(page) if block.file} | OWN
    names = [name for name in imported(page) if name.split(".")[0] in PACKAGES]
    bad = [name for name in names if missing(name)]
    assert [name for name in (*bad, *absent(text)) if name not in own] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if ":" not in link]
    absent = [link for link in links if not (page.parent / link).exists()]
    assert [link for link in absent if link not in MADE] == []


def commands(page: Path) -> Iterator[list[str]]:
    """The words behind ``run_swarm.py`` or ``run-swarm`` of the runs that a page's blocks start."""
    for block in blocks(page):
        if block.language == "bash" and block.info != "fails":
            for line in block.code.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:python \S*run_swarm\.py|run-swarm)\s+(.*)", line):
                    yield shlex.split(found[1], comments=True)


def _first(setting: str) -> str:
    """The first of several values: ``topology=ring,torus``, ``seed=range(0,5)``."""
    return re.sub(r"=(?:range\()?([\w.]+),.*", r"=\1", setting)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_of_commands_are_there(page: Path) -> None:
    for words in commands(page):
        settings = [word for word in words if "=" in word and not word.startswith("-")]
        if "--config-dir" in words or len(settings) + ("-m" in words) < len(words):
            continue  # options of the reader's own; another command, such as report
        if settings[0].startswith("resume=") or "scenario=NAME" in settings:
            continue  # the settings are those of a folder, or the reader's choice
        try:
            words, _ = with_sweep_params(settings)
            compose([word if "[" in word else _first(word) for word in words])
        except ConfigError as error:
            pytest.fail(f"{' '.join(words)}: {error}")


def test_the_page_on_plug_ins_lists_every_group() -> None:
    text = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    rows = text[text.index("| Section |") :].splitlines()[2:]
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named - {"metrics"} == set(groups())


@pytest.mark.parametrize(
    "text",
    [
        "by `swarm.topology.base.Topology`",  # a module of an earlier version
        "by `swarm.learning.update.policy.Policy`",  # a class of an earlier version
        "in `swarm/shard.py` and elsewhere",
        "in `simulation/pupils.py`",
        "say `scenario=growth`",
    ],
)
def test_a_name_that_is_not_there_is_found(text: str) -> None:
    assert len(absent(text)) == 1


def test_what_is_there_is_not_found() -> None:
    text = "`swarm.load`, `swarm.common.rng.Keys`, `learning/optim/`, `conf/GROUP/NAME.yaml`"
    assert absent(text) == []
