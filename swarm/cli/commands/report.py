"""``python run_swarm.py report RUN …`` draws the pictures of a run again, or compares several runs.

It lies in a higher layer than :mod:`swarm.results.report`, because it redraws claims too, which are
many runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from swarm.cli.messages import CommandParser, complain
from swarm.common.errors import ConfigError, SwarmError
from swarm.common.system.paths import usable
from swarm.config.foreign import refused
from swarm.experiments.kinds import kind
from swarm.experiments.runner import kind_in
from swarm.experiments.runs.scenario import KindName
from swarm.results.report import Comparison, draw, load_partial, page, replace_file, write_report
from swarm.results.status import RUNS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0, or that of the error after one sentence on
    standard error."""
    parser = CommandParser(
        "report",
        epilog="Runs need not be finished or complete.",
        description=(
            "With one run, redraw curves.png, report.html and graph.png in its folder, or the pages"
            " of a claim. With several, compare their swarms in a table and a page."
        ),
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="a run folder")
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="the page of the comparison (comparison.html)"
    )
    parser.add_argument(
        "--png", metavar="FILE", type=Path, help="also draw the curves of the comparison"
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        type=Path,
        help="also write every final number of every arm into a table",
    )
    given = parser.parse_args(arguments)
    try:
        for run in given.runs:
            usable(run, "run folder")
        with refused("is code that the folder names, and a report runs none"):
            if len(given.runs) == 1 and not (given.html or given.png or given.csv):
                return _redraw(given.runs[0])
            return _compare(given)
    except SwarmError as error:
        return complain(error)


def _redraw(folder: Path) -> int:
    name = _kind_of(folder)
    if name not in ("run", None):
        with _writing("/run folder", folder):
            paths = kind(name).redraw(folder)
    else:
        run = load_partial(folder)
        _warn(run.notes)
        with _writing("/run folder", folder):
            paths = write_report(run)
    for path in paths:
        print(path)
    return 0


def _kind_of(folder: Path) -> KindName | None:
    """The kind of scenario that has written the folder; None if its config cannot be read."""
    try:
        return kind_in(folder)
    except SwarmError:
        if (folder / RUNS).is_dir():
            raise
        return None


def _compare(given: argparse.Namespace) -> int:
    html = given.html or (Path("comparison.html") if not (given.png or given.csv) else None)
    _require_files({"html": html, "png": given.png, "csv": given.csv})
    _require_each_once(given.runs)
    for folder in given.runs:
        if _kind_of(folder) not in ("run", None):
            valid = (
                f"holds many runs, which judge a claim; python run_swarm.py report {folder} draws"
                " their page again"
            )
            raise ConfigError(
                "/run folder", folder, f"{valid}, and the runs below it can be compared"
            )
    comparison = Comparison.of(given.runs)
    merged = comparison.merged()
    _warn(comparison.notes)
    comparison.print()
    outputs: list[tuple[str, Path | None, Callable[[IO[bytes]], object]]] = [
        ("html", html, lambda file: file.write(page(merged).encode())),
        ("png", given.png, lambda file: draw(merged, file)),
        ("csv", given.csv, lambda file: file.write(comparison.rows().to_csv(index=False).encode())),
    ]
    for name, path, write in outputs:
        if path is not None:
            with _writing(f"/--{name}", path):
                replace_file(path, write)
            print(path)
    return 0


def _require_each_once(folders: Sequence[Path]) -> None:
    """Refuse two names of the same folder."""
    met: dict[Path, Path] = {}
    for folder in folders:
        first = met.setdefault(folder.resolve(), folder)
        if first is not folder:
            also = "" if first == folder else f", first as {first}"
            raise ConfigError(
                "/run folder", folder, f"is given twice{also}; a comparison is of different runs"
            )


def _require_files(targets: dict[str, Path | None]) -> None:
    """Refuse, before anything is read, targets that cannot be written or are the same file."""
    taken: dict[Path, str] = {}
    for name, path in targets.items():
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir():
            raise ConfigError(f"/--{name}", path, "must be a file in a folder that exists")
        if path.resolve() in taken:
            raise ConfigError(
                f"/--{name}", path, f"must be another file than that of --{taken[path.resolve()]}"
            )
        taken[path.resolve()] = name
        with _writing(f"/--{name}", path), TemporaryFile(dir=path.parent):
            pass


@contextmanager
def _writing(key: str, target: Path) -> Iterator[None]:
    """Turn an ``OSError`` within the block into a :class:`ConfigError` about ``key``, whose value
    is ``target``."""
    try:
        yield
    except OSError as error:
        file = Path(str(error.filename or target)).name.removesuffix(".tmp")
        where = f"{file} in it " if target.is_dir() and file != target.name else ""
        raise ConfigError(
            key, target, f"{where}cannot be written: {error.strerror or error}"
        ) from error


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"warning: {note}; shown without it", file=sys.stderr)
