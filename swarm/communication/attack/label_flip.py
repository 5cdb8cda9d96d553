"""Hostile devices that learn wrong labels.

Tolpegin, Truex, Gursoy & Liu, *Data poisoning attacks against federated learning systems*, ESORICS
2020 (arXiv 2007.08432).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import DataAttack, Placement, SampleFacts


class LabelFlip(DataAttack):
    """Every label y of C classes becomes C − 1 − y (``rule=mirror``) or y + 1 modulo C
    (``rule=next``)."""

    def __init__(
        self,
        rule: Literal["mirror", "next"] = "mirror",
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        super().__init__(devices, placement)
        self.rule = rule

    def check_samples(self, facts: SampleFacts) -> None:
        """Refuse numeric targets."""
        if not facts.classes:
            valid = "needs data with classes, as numeric targets have no labels to flip"
            raise ConfigError("attack", "label_flip", valid)

    def labels(self, y: Tensor, facts: SampleFacts) -> Tensor:
        """See :meth:`DataAttack.labels`."""
        assert facts.classes
        if self.rule == "mirror":
            return facts.classes - 1 - y
        return (y + 1) % facts.classes
