"""What an arm measures on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from swarm.data.dataset import Affine

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What an arm measures on: by this a metric says whether it can be measured there.

    Attributes:
        classification: Whether the targets are classes; otherwise they are numbers.
        outputs: How many classes, or targets, there are.
        sequence: Whether each sample has a label for every position (text).
        evaluated: Whether devices are looked at on the test samples at all.
        label: The class that ``evaluate.label`` names.
        local: Whether devices are also looked at on their own mix of labels.
        ensemble: Whether the devices' votes are counted.
        own_rows: Whether devices have held-out samples of their own.
        cross_entropy: Whether the test loss is the cross-entropy.
        backdoor: Whether hostile devices teach a trigger.
        streams: Whether devices meet their samples one after the other.
        text: Whether classes stand for text.
        seed: The seed of the run, for metrics that draw.
        target: How numeric targets were scaled; None if they were not.
    """

    classification: bool
    outputs: int
    sequence: bool = False
    evaluated: bool = True
    label: int | None = None
    local: bool = True
    ensemble: bool = True
    own_rows: bool = False
    cross_entropy: bool = True
    backdoor: bool = False
    streams: bool = False
    text: bool = False
    seed: int = 0
    target: Affine | None = field(default=None, compare=False)

    @property
    def target_span(self) -> Floats:
        """What 1 in the unit in which targets are learned is in each target's own unit, ``[T]``; an
        error times it is in that unit."""
        return np.ones(self.outputs) if self.target is None else self.target.span.copy()

    @property
    def target_shift(self) -> Floats:
        """What 0 in the unit in which targets are learned is in each target's own unit, ``[T]``: an
        answer there is ``target_shift + target_span · answer``."""
        return np.zeros(self.outputs) if self.target is None else self.target.shift.copy()
