"""TensorBoard as a mirror of ``metrics.jsonl``: event files in the run folder, one TensorBoard run
an arm.

Written by tensorboardX, which needs no TensorBoard; to look at them, ``tensorboard --logdir
RUN_FOLDER/tensorboard``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.system import yaml_text
from swarm.common.system.machine import is_installed
from swarm.results.presentation import stored
from swarm.results.track.base import Tracker, device_scores
from swarm.results.track.jsonl import plain


class TensorBoardTracker(Tracker):
    """Mirrors each arm into ``folder/tensorboard/ARM``: every number of a record under its name in
    ``metrics.jsonl``, by round, and a histogram of the devices' main scores. The arm's own config
    is a text of it, with the learning rate that was chosen. What the scenario declared for
    trackers, such as the gap closed, are numbers of the leading arm's last round. The run's config
    and the versions are texts of the run ``report``, pictures its images.

    A resumed arm goes on in a further file, from which on TensorBoard leaves out what the first one
    has of later rounds.

    Args:
        folder: The run folder.
        run: Name of the run.
        config: The resolved config.
        versions: Of what the numbers depend on.
        histograms: Whether histograms are written; they take most of the space.

    Raises:
        ConfigError: tensorboardX is not installed.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        config: dict[str, Any],
        versions: dict[str, str] | None = None,
        histograms: bool = True,
    ) -> None:
        if not is_installed("tensorboardX"):
            raise ConfigError(
                "/tracker",
                "tensorboard",
                "needs tensorboardX; pip install '.[tensorboard]' brings it",
            )
        self.folder, self.run, self.config, self.versions = folder, run, config, versions or {}
        self.histograms = histograms
        self._writer: Any = None
        self._configs: dict[str, dict[str, Any]] = {}

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        """Keeps the arm's config for its event file."""
        self._configs[arm] = config

    def start(self, arm: str, rounds: int, done: int) -> None:
        """Opens the arm's event file.

        Where a part is there already, what it has of rounds after ``done`` counts no more.
        """
        self._writer = self._open(arm, from_round=done + 1 if done else 0)
        if arm in self._configs:
            self._text("config", self._configs[arm], done)

    def record(self, record: dict[str, Any]) -> None:
        """Writes the numbers of one round, and the histogram if there is one."""
        if self._writer is None:
            return
        for key, value in record.items():
            number = None if key.startswith("_") or key in ("arm", "round") else plain(value)
            if isinstance(number, int | float):
                self._writer.add_scalar(key, number, record["round"])
        for name, values in device_scores(record).items() if self.histograms else ():
            found = values[np.isfinite(values)]
            if len(found):
                self._writer.add_histogram(name, found, record["round"], bins="auto")

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """Closes the arm's file."""
        self.close()

    def conclude(self, summary: dict[str, Any]) -> None:
        """Writes the numbers that the scenario declared beside those of its leading arm."""
        shown, arms = stored.read(self.folder, summary), summary.get("arms", {})
        figures = shown.figures("tracker", summary)
        found = {key: value for key, value in figures.items() if value is not None}
        lead = shown.lead(arms)
        if found and lead:
            self._writer = self._open(lead, from_round=arms[lead]["rounds"] + 1)
            for key, value in found.items():
                self._writer.add_scalar(key, value, arms[lead]["rounds"])
            self.close()

    def attach(self, files: Sequence[Path]) -> None:
        """Config and versions as texts, pictures as images; a page stays where it is, and is
        named.
        """
        from matplotlib import image  # takes a second, and only a run that ends needs it

        self._writer = self._open("report", from_round=0)
        for name, value in (("config", self.config), ("versions", self.versions)):
            self._text(name, value, 0)
        for path in files:
            if path.suffix == ".png":
                self._writer.add_image(
                    path.stem, image.imread(path)[:, :, :3], 0, dataformats="HWC"
                )
            else:
                self._writer.add_text(path.name, str(path.resolve()), 0)
        self.close()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _text(self, name: str, value: dict[str, Any], round: int) -> None:
        text = yaml_text.dump(value)
        self._writer.add_text(name, "".join(f"    {line}\n" for line in text.splitlines()), round)

    def _open(self, name: str, from_round: int) -> Any:
        """A further event file; where there are some already, what they have of ``from_round`` and
        later is taken back.
        """
        self.close()
        from tensorboardX import SummaryWriter  # an extra that need not be installed

        place = self.folder / "tensorboard" / name
        # Names hold the time in seconds: without their number, two parts of one second would
        # overwrite one another.
        parts = len(list(place.glob("events.*")))
        return SummaryWriter(
            logdir=str(place),
            purge_step=from_round if parts else None,
            filename_suffix=f".{parts:06d}",
        )
