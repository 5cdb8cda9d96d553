"""What a run leaves for people: ``curves.png``, ``report.html``, ``graph.png``, and its folder as
data frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

from swarm.common.system.files import replacing
from swarm.results.load import Run, load, load_partial
from swarm.results.report.compare import Comparison
from swarm.results.report.curves import draw
from swarm.results.report.html.page import page
from swarm.results.report.layout import layout_graph
from swarm.results.report.network import draw_graph

__all__ = [
    "Comparison",
    "Run",
    "draw",
    "load",
    "load_partial",
    "page",
    "replace_file",
    "write_report",
]


def write_report(folder: str | Path | Run) -> list[Path]:
    """Reads a run folder and (re)writes its pictures, each whole or not at all, and its page when
    they are all there.

    Returns:
        The paths of ``curves.png``, of ``report.html`` and, where the run has a graph, of
        ``graph.png``.

    Raises:
        ConfigError: the folder is not a run folder, or one of its files is damaged.
        OSError: the folder cannot be written.
    """
    run = folder if isinstance(folder, Run) else load(folder)
    drawing = layout_graph(run.graph) if run.graph is not None and run.graph["n"] > 0 else None
    paths = [run.folder / "curves.png", run.folder / "report.html"]
    replace_file(paths[0], lambda file: draw(run, file))
    if drawing is not None:
        paths.append(run.folder / "graph.png")
        replace_file(paths[2], lambda file: draw_graph(run, drawing, file))
    replace_file(paths[1], lambda file: file.write(page(run, drawing).encode()))
    return paths


def replace_file(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """``target`` as ``write`` makes it, or as it was if that fails."""
    with replacing(target) as file:
        write(file)
