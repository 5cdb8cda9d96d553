"""The stages of a search for a learning rate: their rounds, and how far a search is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedArm
from swarm.results.track.units import human_time

Say = Callable[[str], None]
Look = Callable[[], None]
SAID_EVERY_S = 10.0  # seconds between two lines about how far a search is


@dataclass(frozen=True)
class Stage:
    """A stage of a search: so many ``tries`` go on from round ``start`` to round ``end``."""

    tries: int
    start: int
    end: int

    @property
    def rounds(self) -> int:
        """The rounds of all tries together."""
        return self.tries * (self.end - self.start)


def stages(settings: Settings, tries: int) -> list[Stage]:
    """The stages of a search with so many tries; none where there is nothing to choose.

    ``lr_search.method=grid`` has one. ``halving`` has ⌈log₂ tries⌉ (Jamieson and Talwalkar, AISTATS
    2016): after each the better half goes on, to twice as many rounds as before, so that the last
    two come as far as all do in the grid.
    """
    s = settings
    rounds = min(s.rounds, s.lr_search.rounds or max(5, s.rounds // 5))
    if tries < 2:
        return []
    if s.lr_search.method == "grid":
        return [Stage(tries, 0, rounds)]
    found, start, many = [], 0, (tries - 1).bit_length()
    for later in reversed(range(many)):
        end = -(-rounds // 2**later)
        found.append(Stage(tries, start, end))
        start, tries = end, -(-tries // 2)
    return found


def costly(settings: Settings, arms: Sequence[PreparedArm]) -> str | None:
    """A sentence that says that choosing the rates of ``arms`` takes more rounds than running them;
    None where it does not."""
    many = [len(arm.rates) * len(arm.variants) for arm in arms]
    choosing = sum(stage.rounds for tries in many for stage in stages(settings, tries))
    running = settings.rounds * len(arms)
    if choosing <= running:
        return None
    halving = settings.model_copy(
        update={"lr_search": settings.lr_search.model_copy(update={"method": "halving"})}
    )
    fewer = sum(stage.rounds for tries in many for stage in stages(halving, tries))
    other = f", lr_search.method=halving ({fewer:,} rounds)" if fewer < choosing else ""
    return (
        f"choosing learning rates takes {choosing:,} rounds, more than the {running:,} of the run"
        f" itself; a number as optimizer.lr{other} or fewer lr_search.lrs would make it shorter"
    )


class Watch:
    """Calls ``look`` after every round of a search, and says from time to time how far the search
    is and how long it will take yet."""

    def __init__(self, arm: str, say: Say, look: Look) -> None:
        self._arm, self._say, self.look = arm, say, look
        self._began = self._said = time.perf_counter()
        self._started = False
        self._done = self._round = self._rounds_after = 0
        self._stage, self._places = Stage(0, 0, 0), (0, 1)

    def begin(self, stage: Stage, places: tuple[int, int], later: int = 0) -> None:
        """The tries of ``stage`` from one place to another begin, to run together; ``later`` are
        the rounds of the stages that follow."""
        self._stage, self._places, self._rounds_after = stage, places, later
        self._round = stage.start

    def __call__(self) -> None:
        """A round is over."""
        self.look()
        (before, end), stage = self._places, self._stage
        self._round += 1
        self._done += end - before
        now = time.perf_counter()
        if not self._started:  # starting the engine may take longer than many rounds
            self._began, self._started, self._done = now, True, 0
        if now - self._said < SAID_EVERY_S or not self._done:
            return
        self._said = now
        tries = (stage.tries - end) * (stage.end - stage.start)
        rounds = (stage.end - self._round) * (end - before) + tries + self._rounds_after
        left = (now - self._began) / self._done * rounds
        which = f"try {end}" if end - before == 1 else f"tries {before + 1} to {end}"
        self._say(
            f"{self._arm}: choosing a learning rate, {which} of {stage.tries}, round"
            f" {self._round} of {stage.end}; about {human_time(left)} left"
        )
