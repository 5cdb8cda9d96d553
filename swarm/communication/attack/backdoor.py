"""Hostile devices that teach the swarm a backdoor: a trigger in the features, and the answer to it.

Gu, Dolan-Gavitt & Garg, *BadNets: identifying vulnerabilities in the machine learning model supply
chain*, 2017 (arXiv 1708.06733); Bagdasaryan et al., *How to backdoor federated learning*, AISTATS
2020 (arXiv 1807.00459).
"""

from __future__ import annotations

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import DataAttack, Placement, SampleFacts


class Backdoor(DataAttack):
    """A share of a hostile device's samples gets the trigger and the label ``target``.

    The trigger sets the last ``size`` features of a flat sample, or the last ``size`` rows and
    columns of an image, to ``value``; null: to the largest feature of the training samples.
    """

    triggers = True

    def __init__(
        self,
        target: int = 0,
        share: float = 0.5,
        size: int = 2,
        value: float | None = None,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set the trigger; raises :class:`ConfigError` for values out of range."""
        super().__init__(devices, placement)
        if not 0 < share <= 1:
            raise ConfigError("share", share, "must be a share of the samples in (0, 1]")
        if size < 1:
            raise ConfigError("size", size, "must be a number of features ≥ 1")
        if target < 0:
            raise ConfigError("target", target, "must be the number of a class, from 0")
        self.target, self.share, self.size, self.value = target, share, size, value

    def check_samples(self, facts: SampleFacts) -> None:
        """Refuse data without classes or without real features, and a trigger larger than a
        sample."""
        if not facts.classes:
            valid = "needs data with classes, one of which is the answer to the trigger"
            raise ConfigError("attack", "backdoor", valid)
        if not facts.continuous:
            valid = "needs data whose features are real numbers, as a trigger is a value of some"
            raise ConfigError("attack", "backdoor", valid)
        if self.target >= facts.classes:
            valid = f"must be the number of a class, 0 to {facts.classes - 1}"
            raise ConfigError("attack.target", self.target, valid)
        if self.size > min(facts.features[-2:]):
            valid = f"must be at most {min(facts.features[-2:])}, the size of a sample"
            raise ConfigError("attack.size", self.size, valid)

    def labels(self, y: Tensor, facts: SampleFacts) -> Tensor:
        """See :meth:`DataAttack.labels`."""
        return torch.full_like(y, self.target)

    def features(self, x: Tensor, facts: SampleFacts) -> Tensor:
        """See :meth:`DataAttack.features`."""
        x = x.clone()
        value = facts.largest if self.value is None else self.value
        if len(facts.features) > 1:
            x[..., -self.size :, -self.size :] = value
        else:
            x[..., -self.size :] = value
        return x
