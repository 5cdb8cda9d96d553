"""Reads untrusted folders of Arrow or Parquet files that are one data set: as ``datasets`` of
Hugging Face saves it, or as its hub has it.
"""

from __future__ import annotations

import json
import mmap
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from swarm.common.errors import ConfigError
from swarm.common.system.files import content, opened, size_of
from swarm.data.files.readers.arrow.ipc import read_ipc
from swarm.data.files.readers.arrow.parquet import read_parquet
from swarm.data.files.readers.columns import require_room, require_unpacked_room

STATE = "state.json"  # in the folder of a saved table, which names its files
PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_MOST_STATE = 16 << 20  # the most bytes of that file that are read
_WORDS = re.compile(r"[a-z]+")
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(-.*)?\.parquet")
_NUMBERED = re.compile(r"(.*\D)?\d{3,}(\D.*)?")


def mapped(file: BinaryIO) -> pa.Buffer:
    """The file's bytes as a memory map, which loads only the parts that are read."""
    return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def read_folder(path: Path, most: int) -> tuple[pa.Table, int] | None:
    """The table in a folder, and how many rows at its end are a test set of its own (0: it has
    none); None if the folder is no data set.

    The samples of a validation set join the training samples, and a warning says so. Raises
    ``ConfigError`` for a set of which files are missing, and for more than ``most`` bytes.
    """
    parts = _parts(path)
    if not parts:
        return None
    if "train" not in parts:
        if len(parts) > 1:
            raise ConfigError("path", path, f"has no training set beside {' and '.join(parts)}")
        parts = {"train": next(iter(parts.values()))}
    if "val" in parts:
        own = f"its validation set ({', '.join(file.name for file in parts['val'][:3])})"
        warnings.warn(
            f"{path}: {own} joins the training samples, from which data.validation draws",
            stacklevel=4,
        )
    tables: list[pa.Table] = []
    size = test = 0
    for part, place in ((name, file) for name in PARTS for file in parts.get(name, [])):
        with opened(place) as file:
            size += size_of(file)
            require_room(path, size, most)
            read = read_parquet if place.suffix == ".parquet" else read_ipc
            try:
                tables.append(read(path, mapped(file), most))
            except (ValueError, OSError) as error:  # most of Arrow's errors are such
                raise ValueError(f"{place.name}: {error}") from None
        if set(tables[-1].column_names) != set(tables[0].column_names):
            names = " and ".join(", ".join(tables[i].column_names) for i in (0, -1))
            valid = f"has files of other columns, {names}; {place.name} is the first of them"
            raise ConfigError("path", path, valid)
        require_unpacked_room(path, sum(table.nbytes for table in tables), most)
        test += len(tables[-1]) * (part == "test")
    return pa.concat_tables(tables, promote_options="permissive"), test


def saved_folders(path: Path) -> list[Path]:
    """The folders in ``path`` that hold a saved table each."""
    return sorted(place for place in path.iterdir() if (place / STATE).is_file())


def _parts(path: Path) -> dict[str, list[Path]]:
    """The files of each set, a key of ``PARTS``; empty if the folder is no data set."""
    if (path / STATE).is_file():
        return {"train": _saved(path)}
    saved = {_part(place.name): place for place in saved_folders(path)}
    if saved:
        known = "" not in saved and len(saved) == len(saved_folders(path))
        return {part: _saved(place) for part, place in saved.items()} if known else {}
    for folder in (path, path / "data"):
        if folder.is_dir() and (found := _parquet(folder)):
            return found
    return {}


def _saved(path: Path) -> list[Path]:
    """The Arrow files that ``save_to_disk`` wrote into a folder."""
    entries = json.loads(content(path / STATE, _MOST_STATE, "16 MiB"))["_data_files"]
    return [path / Path(str(entry["filename"])).name for entry in entries]


def _parquet(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of each set in a folder, by words in their names; or those in folders whose
    names are such words. Files that are only numbered are one set.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix == ".parquet")
    if not files:
        return _parquet_inside(folder)
    parts: dict[str, list[Path]] = {}
    for file in files:
        parts.setdefault(_part(file.stem), []).append(file)
    unknown = parts.get("", [])
    if unknown and len(parts) > 1:
        known = next(file for part, found in parts.items() if part for file in found)
        valid = f"has {unknown[0].name} beside {known.name}; say train or test in each file's name"
        raise ConfigError("path", folder, valid)
    if unknown and (len(files) == 1 or not all(_NUMBERED.fullmatch(file.stem) for file in files)):
        return {}
    _require_all(folder, files)
    return {part or "train": found for part, found in parts.items()}


def _parquet_inside(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files in folders whose names are words for a set."""
    found: dict[str, list[Path]] = {}
    for place in sorted(place for place in folder.iterdir() if place.is_dir()):
        part, files = _part(place.name), sorted(place.glob("*.parquet"))
        if not part or not files:
            continue
        if part in found:
            both = f"{found[part][0].parent.name}/ and {place.name}/"
            raise ConfigError("path", folder, f"has two folders for one set: {both}; keep one")
        _require_all(place, files)
        found[part] = files
    return found


def _part(name: str) -> str:
    """The set that a name has a word for; an empty text for none, or several."""
    words = set(_WORDS.findall(name.lower()))
    found = [part for part, known in PARTS.items() if words & set(known)]
    return found[0] if len(found) == 1 else ""


def _require_all(folder: Path, files: Iterable[Path]) -> None:
    """Refuse a set that lacks one of the files ``…-00000-of-00002.parquet``."""
    there: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if shard := _SHARD.fullmatch(file.name):
            there.setdefault((shard[1], int(shard[3])), set()).add(int(shard[2]))
    for (name, count), numbers in there.items():
        lost = next((number for number in range(count) if number not in numbers), None)
        if lost is not None:
            valid = f"lacks the file {name}-{lost:05d}-of-{count:05d}.parquet"
            raise ConfigError("path", folder, f"{valid}, and has {len(numbers)} of {count}")
