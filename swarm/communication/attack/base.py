"""The interface of attacks: who is hostile, and what hostile devices do otherwise than honest ones.

What an attack changes is its base class:

- :class:`MessageAttack` changes the row that a hostile device sends to everybody;
- :class:`LinkAttack` makes a row for each receiver;
- :class:`DataAttack` changes the samples that a hostile device learns from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.plugin import returned, shape_of
from swarm.communication.aggregation.base import Heard
from swarm.communication.transform.base import Sending

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Placement = Literal["random", "hubs", "cut"]


@dataclass(frozen=True)
class Known:
    """What colluding devices know of the rows that the honest devices send in a round.

    Attributes:
        mean_M: The weighted mean of these rows, with the weights :meth:`MessageAttack.watched`.
        std_M: Their standard deviation in each number; None unless the attack asks for it.
        there_M: Which numbers any of these rows has, where some rows lack numbers; None: all.
            Hostile devices leave the other numbers as they are.
    """

    mean_M: Tensor
    std_M: Tensor | None
    there_M: Tensor | None = None

    def of(self, place_c: Tensor) -> Known:
        """What they know of the numbers in these places."""
        parts = (self.mean_M, self.std_M, self.there_M)
        mean, std, there = (None if each is None else each[place_c] for each in parts)
        assert mean is not None
        return Known(mean, std, there)


@dataclass(frozen=True)
class Attacking(Sending):
    """The hostile senders of rows in a round, their random draws, and what they know.

    Attributes:
        known: What they know of the honest rows; None unless they collude.
        earlier_nM: Their own row of :attr:`MessageAttack.memory` rounds ago, or of the first round
            if that is later; None for an attack without memory.
    """

    known: Known | None = None
    earlier_nM: Tensor | None = None


@dataclass(frozen=True)
class SampleFacts:
    """Facts about the samples that devices learn from.

    Attributes:
        classes: The number of classes; None where targets are numbers.
        features: The shape of one sample's features.
        continuous: Whether features are real numbers; otherwise they are numbers of tokens.
        largest: The largest feature of the training samples.
    """

    classes: int | None
    features: tuple[int, ...]
    continuous: bool
    largest: float


class Attack:
    """How the hostile devices of a swarm behave; all other devices are honest.

    A subclass derives from one of the kinds of this module. One with keys of its own takes
    ``devices`` and ``placement`` as well, and hands them to this constructor.

    Attributes:
        learns: Whether hostile devices take local steps.
        absent: Whether there is no attack, as the option ``none`` says: hostile devices then do as
            all others do.
    """

    learns: ClassVar[bool] = True
    absent: ClassVar[bool] = False

    def __init__(
        self, devices: int | float | list[int] = 0.1, placement: Placement = "random"
    ) -> None:
        """Set who is hostile.

        Args:
            devices: A share of all devices (below 1), their number, or a list of their ids.
            placement: Where those sit that no list names: ``random``, at the ``hubs`` of the first
                round's graph, or on a ``cut`` of it.
        """
        self.devices, self.placement = devices, placement

    def check(self, hostile_N: Bools) -> None:
        """Refuse options that cannot work with these hostile devices, with a
        :class:`~swarm.common.errors.ConfigError`."""
        return


class NoAttack(Attack):
    """Nobody attacks. Devices that ``devices`` names behave like all others, and no metric counts
    them: so a run without an attack can be measured on the same devices as one with it."""

    absent = True

    def __init__(
        self, devices: int | float | list[int] = 0, placement: Placement = "random"
    ) -> None:
        super().__init__(devices, placement)


class MessageAttack(Attack, ABC):
    """An attack that changes the rows that hostile devices send.

    It comes after the transforms of messages and before compression: a hostile device may send any
    numbers, but only packets that the others can read. It keeps its own row as it has learned it.

    Attributes:
        colludes: Whether the hostile devices know the mean of the rows that honest devices send.
        spread: Whether they also know the standard deviation of these rows.
        memory: How many rounds back they remember a row of their own; 0 without memory.
        copies: How many times they send each message.
    """

    colludes: ClassVar[bool] = False
    spread: ClassVar[bool] = False
    memory: int = 0
    copies: int = 1

    @abstractmethod
    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """Return what n hostile devices send in place of ``rows_nM``, ``[n, M]``; ``rows_nM``
        itself must not be changed. A row must not depend on the other rows."""

    def watched(self, honest_N: Bools, seed: int) -> Floats:
        """Return the weights of all devices in the mean that colluders know, ``[N]``; they sum to
        one over honest devices."""
        return np.asarray(honest_N / honest_N.sum(), np.float64)


class LinkAttack(Attack, ABC):
    """An attack that makes a row for each honest receiver, given all that this receiver combines.

    The hostile neighbours of a device know its own row, the rows of its honest neighbours and the
    mixing weights."""

    @abstractmethod
    def message(self, heard: Heard, hostile_K: Bools) -> Tensor:
        """Return the row ``[M]`` that each hostile sender among the K senders of ``heard`` sends to
        its receiver. At least one of ``hostile_K`` is true."""


class DataAttack(Attack, ABC):
    """An attack that changes the samples that hostile devices learn from; their messages are what
    they have learned.

    Attributes:
        share: The fraction of a hostile device's samples that is changed.
        triggers: Whether :meth:`features` plants a trigger, whose effect on honest devices is
            measured on test samples with that trigger.
    """

    share: float = 1.0
    triggers: ClassVar[bool] = False

    @abstractmethod
    def labels(self, y: Tensor, facts: SampleFacts) -> Tensor:
        """Return the labels to learn in place of ``y``, of the same shape."""

    def features(self, x: Tensor, facts: SampleFacts) -> Tensor:
        """Return the features to learn from in place of ``x``, ``[…, *features]``."""
        return x

    def check_samples(self, facts: SampleFacts) -> None:
        """Refuse data that the attack cannot change, with a
        :class:`~swarm.common.errors.ConfigError`."""
        return


def attacked(attack: MessageAttack, rows_nM: Tensor, attacking: Attacking) -> Tensor:
    """Return ``attack(rows_nM, attacking)``.

    Raises :class:`~swarm.common.plugin.PluginError` for rows of another shape or dtype.
    """
    found = attack(rows_nM, attacking)
    fits = isinstance(found, Tensor) and found.shape == rows_nM.shape
    if not fits or found.dtype != rows_nM.dtype:
        needed = f"{shape_of(rows_nM)} are needed"
        raise returned("attack", attack, "__call__", f"returns {shape_of(found)}", needed)
    return found
