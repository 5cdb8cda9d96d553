"""Which labels a device observes: all of them, or those that an oracle tells it within a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, DeviceSplit


class LabelOracle(ABC):
    """Says for which samples a device is told a label, and which label that is."""

    absent: ClassVar[bool] = False
    """Whether the data stay as they are, as the option ``none`` says; all else needs a stream."""

    @abstractmethod
    def apply(self, data: Dataset, holdings: DeviceSplit) -> Dataset:
        """The data set with :attr:`Dataset.observed_labels`.

        Raises ``ConfigError`` for data that this oracle does not fit.
        """


class AllLabels(LabelOracle):
    """Every sample comes with its true label."""

    absent = True

    def apply(self, data: Dataset, holdings: DeviceSplit) -> Dataset:
        return data


class BudgetedOracle(LabelOracle):
    """A device is told the label of a sample with probability ``chance``, until it has been told
    ``budget`` labels (None: without end). With probability ``wrong`` the told label is another
    class, each with equal probability.

    Samples without a label are predicted and scored, but not learnt from.
    """

    def __init__(
        self, seed: int, chance: float = 0.1, budget: int | None = None, wrong: float = 0.0
    ) -> None:
        number("chance", chance, 0, 1)
        number("wrong", wrong, 0, 1)
        if budget is not None:
            number("budget", budget, 0)
        self.chance, self.budget, self.wrong = chance, budget, wrong
        self.keys = Keys(seed, "people")

    def apply(self, data: Dataset, holdings: DeviceSplit) -> Dataset:
        if not data.classes or data.y.ndim > 1:
            found = "a label for each position" if data.classes else "numeric targets"
            raise ConfigError(
                "/labels", "meetings", f"tell one class label a sample, and the data have {found}"
            )
        held, device_S = holdings.sample, holdings.device_S
        draw_S3 = self.keys.uniform(held, 0, 3)
        met_S = draw_S3[:, 0] < self.chance
        if self.budget is not None:
            told_S = np.cumsum(met_S)
            before_N = np.concatenate([[0], told_S])[holdings.ptr_N1[:-1]]
            met_S &= told_S - before_N[device_S] <= self.budget
        true_S = data.y[held].astype(np.int64)
        other_S = (
            true_S + 1 + (draw_S3[:, 2] * (data.classes - 1)).astype(np.int64)
        ) % data.classes
        given = np.full(len(data.x), -1)
        given[held] = np.where(met_S, np.where(draw_S3[:, 1] < self.wrong, other_S, true_S), -1)
        return replace(data, observed_labels=given)
