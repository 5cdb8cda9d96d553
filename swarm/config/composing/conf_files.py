"""Reads the files of ``conf/`` for people: what each option and each key is, from the comments.

The help of the command line and the page of all settings are made of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

from swarm.common.system import paths, yaml_text

EXPERIMENT = "experiment"
"""The one group whose options are no plug-ins: each sets keys and options of other groups."""
HYDRA = "hydra"  # a section that is not about the run
_KEY = re.compile(r"^( *)(?:- )?([\w/]+):(?:\s+(.*?))??(?:\s+#\s+(.*))?$")
_PACKAGE = "# @package "  # a comment that is for Hydra


@dataclass(frozen=True)
class ConfFile:
    """What a yaml says of itself.

    Attributes:
        said: Its first comment, as one text.
        summary: The first paragraph of that.
        target: The class that it chooses, or None.
        body: Its keys as they stand, with their comments.
        comments: Of each dotted key that has one.
        defaults: The option of each group that it chooses, and what is said of the group.
    """

    said: str
    summary: str
    target: str | None
    body: str
    comments: dict[str, str]
    defaults: dict[str, tuple[str, str]]


@cache
def read(file: Path) -> ConfFile:
    """Read a yaml of ``conf/``, or one that is written like them."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    head = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    said = [line.lstrip("# ") for line in lines[:head] if _PACKAGE not in line]
    paragraph = said[: said.index("")] if "" in said else said
    values: Any = yaml_text.load(text)
    values = values if isinstance(values, dict) else {}
    found = {key: (value, comment) for key, value, comment in _keys(lines[head:])}
    chosen = {key.removeprefix("defaults."): each for key, each in found.items()
              if key.startswith("defaults.")}  # fmt: skip
    return ConfFile(
        " ".join(said),
        " ".join(paragraph),
        values.get("_target_"),
        "\n".join(line for line in lines[head:] if not line.startswith("_target_:")).strip(),
        {key: comment for key, (_, comment) in found.items() if comment},
        chosen,
    )


def option_files(group: str) -> dict[str, Path]:
    """A group's options by name: the bundled ones, and those of ``--config-dir``, which come
    first, while a command line is being composed or run."""
    from hydra.core.global_hydra import GlobalHydra

    places = [paths.conf()]
    if GlobalHydra.instance().is_initialized():
        sources = GlobalHydra.instance().config_loader().get_sources()
        files = [Path(source.path) for source in sources if source.scheme() == "file"]
        places += [folder for folder in reversed(files) if folder != paths.conf()]
    return {file.stem: file for place in places for file in sorted((place / group).glob("*.yaml"))}


def default_options() -> dict[str, str]:
    """The option of each group that ``conf/config.yaml`` chooses."""
    return {group: name for group, (name, _) in read(config_file()).defaults.items()}


def placed() -> dict[str, Path]:
    """The file beside ``conf/config.yaml`` that adds keys to a section, by the section: of
    ``- own_samples@data`` it is ``own_samples.yaml``, for ``data``, whatever option that has."""
    entries = yaml_text.load(config_file().read_text(encoding="utf-8"))["defaults"]
    pairs = (entry.split("@") for entry in entries if isinstance(entry, str) and "@" in entry)
    return {section: paths.conf() / f"{file}.yaml" for file, section in pairs}


def config_file() -> Path:
    """The file that holds every setting with its default."""
    return paths.conf() / "config.yaml"


def _keys(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """The dotted key, the value as it stands, and the comment of each line with a key."""
    above: list[tuple[int, str]] = []  # the sections that a line is in, with their indentation
    for line in lines:
        found = _KEY.match(line)
        if found is None:
            continue
        depth = len(found[1])
        above = [each for each in above if each[0] < depth]
        above.append((depth, found[2]))
        yield ".".join(name for _, name in above), found[3] or "", found[4] or ""


def keys_of(file: Path, resolved: bool = False) -> dict[str, Any]:
    """Return the keys of an option's file, as they stand there or with interpolations resolved; the
    result is not to be changed.

    A file is read again only when it has changed, as a run asks for some dozens of times.
    """
    facts = file.stat()
    return _read(file, resolved, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=1024)
def _read(file: Path, resolved: bool, changed: int, size: int) -> dict[str, Any]:
    if resolved:
        from omegaconf import OmegaConf

        return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(file), resolve=True))
    return yaml_text.load(file.read_text(encoding="utf-8")) or {}
