"""The samples of hostile devices, as they learn from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.rng import Keys
from swarm.communication.attack.base import DataAttack, SampleFacts
from swarm.data.dataset import Dataset

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Poison:
    """Changes the samples that hostile devices learn from.

    Attributes:
        triggered: The numbers of the test samples with the trigger: those of other classes than the
            one that is taught. Numbers from the size of the data set on stand for its samples with
            the trigger. None for an attack without a trigger.
    """

    def __init__(
        self, attack: DataAttack, facts: SampleFacts, hostile_N: Bools, dataset: Dataset, seed: int
    ) -> None:
        self.attack, self.facts, self.hostile_N = attack, facts, hostile_N
        self.keys, self.samples = Keys(seed, "attack.samples"), len(dataset.x)
        self.triggered: Ints | None = None
        if attack.triggers:
            y = torch.as_tensor(dataset.y[dataset.test])
            others = np.asarray((y != attack.labels(y, facts)).reshape(len(y), -1).any(1))
            self.triggered = dataset.test[others] + self.samples

    def chosen(self, device_B: Ints, sample_BKb: Ints) -> Tensor | None:
        """Which of the drawn samples are changed; None where none is. A device changes a sample
        every time that it meets it, or never."""
        hostile_B = self.hostile_N[device_B]
        if not hostile_B.any():
            return None
        chosen = np.zeros(sample_BKb.shape, bool)
        if self.attack.share >= 1:
            chosen[hostile_B] = True
        else:
            device = device_B[hostile_B][:, None, None]
            drawn = self.keys.uniform(device, sample_BKb[hostile_B], 1)[..., 0]
            chosen[hostile_B] = drawn < self.attack.share
        return torch.as_tensor(chosen)

    def labels(self, y: Tensor, chosen: Tensor | None) -> Tensor:
        """The labels to learn; those below 0 are not known, and stay so."""
        if chosen is None:
            return y
        at = chosen.to(y.device).view(*chosen.shape, *(1,) * (y.ndim - chosen.ndim))
        return torch.where(at & (y >= 0), self.attack.labels(y, self.facts), y)

    def features(self, x: Tensor, chosen: Tensor | None) -> Tensor:
        """The features to learn from."""
        if chosen is None or not self.attack.triggers:
            return x
        at = chosen.to(x.device).view(*chosen.shape, *(1,) * (x.ndim - chosen.ndim))
        return torch.where(at, self.attack.features(x, self.facts), x)

    def with_trigger(self, x: Tensor, y: Tensor, marked: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of an evaluation, of which those that are ``marked`` have the trigger and the
        label that it teaches."""
        everybody = marked.to(x.device)
        return self.features(x, everybody), self.labels(y, everybody)


def facts_of(dataset: Dataset) -> SampleFacts:
    """The facts that an attack on data is told."""
    continuous = dataset.x.dtype.kind == "f"
    train = dataset.x[dataset.train]
    largest = float(train.max()) if continuous and train.size else 0.0
    return SampleFacts(dataset.classes or None, tuple(dataset.x.shape[1:]), continuous, largest)
