"""Tells the tracker of a run that is over what it missed, as the process was killed before the
tracker, which is on a thread of its own, had heard everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from swarm.common.errors import SwarmError
from swarm.config.build import class_of
from swarm.config.settings import Settings
from swarm.experiments.resolved import Resolved
from swarm.experiments.runs.arms import chosen_settings
from swarm.experiments.runs.describe import tracker_of
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results.folder import Folder
from swarm.results.status import PAGE, PICTURE
from swarm.results.track.base import Fanout, Tracker


def missing(
    settings: Settings, home: Folder, summary: dict[str, Any], files: Sequence[Path]
) -> list[str]:
    """The arms, and what stands for ``files``, of which the tracker says that it has not got
    everything; nothing where the tracker cannot be asked, or the folder not be written."""
    kind = class_of(settings.tracker, Tracker, "tracker", settings.plugins)
    if kind.missing is Tracker.missing or not os.access(home.path, os.W_OK):
        return []
    try:
        tracker = tracker_of(settings, home.path, home.name)
        return tracker.missing(list(summary.get("arms", {})), files)
    except (Exception, SystemExit):  # a tracker never ends a run
        return []


def pictures(home: Folder) -> list[Path]:
    """The page and the pictures that are there."""
    files = [home.path / name for name in (PICTURE, PAGE, "graph.png")]
    return [file for file in files if file.is_file()]


def tell(
    resolved: Resolved,
    home: Folder,
    summary: dict[str, Any],
    files: Sequence[Path],
    say: Callable[[str], None],
) -> None:
    """Have the tracker make up for the arms that it misses, and hand it ``files``; ``say`` prints
    its errors as warnings. Arms whose config cannot be had, as the data are gone, are left out."""
    settings = resolved.settings
    sink = Fanout(Tracker(), [tracker_of(settings, home.path, home.name)], warn=say)
    try:
        configs = dict(_configs(PreparedRun.prepare(resolved), home))
    except SwarmError as error:
        say(f"warning: the tracker is told of no arm, as what they ran with is not there: {error}")
    else:
        for arm, config in configs.items():
            sink.configure(arm, config)
        sink.conclude(summary)
    sink.attach(files)
    sink.close()


def _configs(prepared: PreparedRun, home: Folder) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each arm ran with, for trackers."""
    tuning = home.progress()["tuning"]
    for arm in prepared.arms:
        if arm.name in tuning:
            settings = chosen_settings(arm, tuning[arm.name], home)
            yield arm.name, prepared.config(arm, settings)
