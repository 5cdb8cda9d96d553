"""Checks of a tracker: it mirrors a small run, by the calls that any run makes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from swarm.common.plugin import blamed, shape_of
from swarm.common.system import yaml_text
from swarm.experiments.checks.trial import fail
from swarm.experiments.runner import check
from swarm.experiments.runs.arms import pictures
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.runs.run import run_for
from swarm.results.folder import Folder
from swarm.results.track.background import NoAnswerError
from swarm.results.track.base import Tracker
from swarm.simulation import checkpoint


def check_tracker(cfg: dict[str, Any], made: Any, path: str) -> None:
    """Run the small run ``cfg`` for its tracker, the plug-in ``made``, and close it twice.

    Raises what the tracker raises, which a run would turn into a warning, and
    :class:`ContractError` for a tracker that does not answer in time or misses what it got."""
    prepared = check(cfg)
    assert isinstance(prepared, PreparedRun)
    built: list[Tracker] = []

    def build(folder: Path, run: str) -> Tracker:
        built.append(prepared.made_tracker(folder, run))
        return built[-1]

    # a tracker that does not answer may go on writing there
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder as place, blamed(2):
        home = Folder(Path(place))
        # not signed, as nobody is to go on with it
        config = yaml_text.dump(prepared.settings.model_dump()).encode()
        checkpoint.write_bytes(home.path / "config.yaml", config)
        try:
            run_for(build, prepared, home)
        except NoAnswerError as error:
            raise fail(made, path, f"{error}, its deadline_s") from error
        built[0].close()
        _check_missing(prepared, home, made, path)


def _check_missing(prepared: PreparedRun, home: Folder, made: Any, path: str) -> None:
    """A tracker that was told everything must not ask for it again, or each resume would tell
    it."""
    tracker = prepared.made_tracker(home.path, home.name)
    try:
        left = tracker.missing(list(prepared.presentation.arms), pictures(home))
    finally:
        tracker.close()
    if not isinstance(left, list | tuple) or not all(isinstance(name, str) for name in left):
        raise fail(made, path, f"its missing returns {shape_of(left)}; a list of names is needed")
    if left:
        text = f"its missing names {', '.join(left)} after a run that has told it everything"
        raise fail(made, path, text)
