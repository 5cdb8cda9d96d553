"""The interface of goals: a goal says which class a device practises next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from swarm.common.plugin import returned, shape_of
from swarm.common.ranges import number
from swarm.common.rng import Keys

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outlook:
    """What n devices know when they set their goals for a round.

    A score is the accuracy of a device's shared model on the samples of one class among its own
    validation samples, as it is after the round before; NaN where the device has none of them.

    Attributes:
        device_n: The ids of the devices.
        round: The number of the round, counted from 1.
        keys: The random draws of goals.
        held_nC: The number of training samples of each class that a device holds.
        own_nC: A device's own scores; all NaN with a goal that does not measure.
        scores_AC: The scores in the A messages that have arrived in this round, the latest of each
            neighbour, in the order of (receiver, sender).
        dst_A: The receiver of each message, as a number of these n devices.
    """

    device_n: Ints
    round: int
    keys: Keys
    held_nC: Ints
    own_nC: Floats
    scores_AC: Floats
    dst_A: Ints

    @cached_property
    def heard_nC(self) -> Floats:
        """The mean score of the neighbours that were heard, ``[n, C]``; NaN where no neighbour
        tells a score of that class."""
        known_AC = ~np.isnan(self.scores_AC)
        count_nC, total_nC = np.zeros_like(self.own_nC), np.zeros_like(self.own_nC)
        np.add.at(count_nC, self.dst_A, known_AC)
        np.add.at(total_nC, self.dst_A, np.where(known_AC, self.scores_AC, 0.0))
        return np.where(count_nC > 0, total_nC / count_nC.clip(1), np.nan)


class Goal(ABC):
    """What a device practises next: in each mini-batch a share ``strength`` of the samples is of
    the class that is worth most to it, and the others are those that it would have met anyway.

    One object serves all devices and rounds, so its answers must depend on what it is given alone.
    Raises :class:`~swarm.common.errors.ConfigError` unless 0 ≤ ``strength`` ≤ 1.

    Attributes:
        measures: Whether a device measures its own model on validation samples of its own.
        listens: Whether devices tell their neighbours their scores, which they then measure, too.
        absent: Whether devices have no goals, as the option ``none`` says: nothing is then called.
    """

    measures: bool = True
    listens: bool = False
    absent: ClassVar[bool] = False

    def __init__(self, strength: float = 0.5) -> None:
        number("strength", strength, 0, 1)
        self.strength = strength

    @abstractmethod
    def worth(self, seen: Outlook) -> Floats:
        """How much it is worth to each device to practise each class, ``[n, C]``; NaN for a class
        that is out of the question."""


class NoGoal(Goal):
    """A device meets its samples as they come."""

    measures = False
    absent = True

    def __init__(self) -> None:
        super().__init__(0.0)

    def worth(self, seen: Outlook) -> Floats:
        """See :meth:`Goal.worth`: nothing is known of any class."""
        return np.full(seen.own_nC.shape, np.nan)


def practised(goal: Goal, seen: Outlook) -> Floats:
    """The shares of the classes in what follows the goal, ``[n, C]``; every row sums to one.

    They are those of the class that is worth most, of the classes that a device holds; several that
    are worth equally much have equal shares. A device to which nothing is worth anything takes its
    samples as they come: in the shares in which it holds them.

    Raises :class:`~swarm.common.plugin.PluginError` if the goal does not return ``[n, C]``.
    """
    worth_nC = goal.worth(seen)
    shape = seen.held_nC.shape
    fits = isinstance(worth_nC, np.ndarray) and worth_nC.shape == shape
    if not fits or worth_nC.dtype.kind not in "fiu":
        needed = f"an array of {list(shape)} numbers is needed"
        raise returned("goal", goal, "worth()", f"returns {shape_of(worth_nC)}", needed)
    open_nC = (seen.held_nC > 0) & ~np.isnan(worth_nC)
    value_nC = np.where(open_nC, worth_nC, -np.inf)
    best_nC = open_nC & (value_nC == value_nC.max(1, keepdims=True))
    found_nC = np.where(best_nC.any(1, keepdims=True), best_nC, seen.held_nC).astype(np.float64)
    return np.asarray(found_nC / found_nC.sum(1, keepdims=True).clip(1))
