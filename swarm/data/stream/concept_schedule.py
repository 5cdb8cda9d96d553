"""When concepts change: which of several concepts each sample of a device's stream belongs to."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, counted
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.data.dataset import Ints

DriftKind = Literal["sudden", "gradual", "recurring"]


class ConceptSchedule:
    """Cuts every stream into equal segments of one concept each, in the taxonomy of Gama et al.,
    *A survey on concept drift adaptation*, ACM Computing Surveys 46(4), 2014.

    - *sudden*: concepts 0, 1, … ``concepts`` − 1 follow one another at once.
    - *gradual*: around every change, over a share ``width`` of the stream, a sample is of the new
      concept with a probability that rises from 0 to 1.
    - *recurring*: concepts 0, 1, … follow one another, then again from 0, ``periods`` times in all.

    With ``phase`` above 0 a device's changes come earlier or later by up to half that share of its
    stream.

    Raises ``ConfigError`` for fewer than two concepts, a share outside [0, 1], and gradual changes
    that overlap or take no time.
    """

    def __init__(
        self, keys: Keys, kind: DriftKind, concepts: int, width: float, periods: int, phase: float
    ) -> None:
        if kind not in ("sudden", "gradual", "recurring"):
            raise ConfigError("kind", kind, "must be sudden, gradual or recurring")
        number("concepts", concepts, 2, 1000)
        number("periods", periods, 1, 1000)
        number("width", width, 0, 1)
        number("phase", phase, 0, 1)
        if kind == "gradual" and not 0 < width * concepts <= 1 + 1e-9:
            valid = (
                f"must be above 0, which is sudden, and at most 1/{concepts}, or one change begins"
                " before the last is over"
            )
            raise ConfigError("width", width, valid)
        self.keys, self.kind, self.concepts, self.width, self.phase = (
            keys,
            kind,
            concepts,
            width,
            phase,
        )
        self.segments = concepts * (periods if kind == "recurring" else 1)

    def require(self, key: str, value: object, most: int, which: str = "the longest") -> None:
        """Raises ``ConfigError`` for ``key`` if streams of at most ``most`` samples have not one
        sample for each segment; ``which`` names the stream of that length.
        """
        if most < self.segments:
            raise ConfigError(
                key,
                value,
                f"cuts streams into {self.segments} parts; {which} has {counted(most, 'sample')}",
            )

    def concept(self, share_S: npt.NDArray[np.float64], device_S: Ints, index_S: Ints) -> Ints:
        """The concept of each sample, ``[S]``: sample ``index_S`` of the stream of ``device_S``,
        which lies ``share_S`` in [0, 1) of the way through that stream.
        """
        shift_S = self.phase * (self.keys.uniform(device_S, 0, 1)[:, 0] - 0.5)
        at_S = np.clip(share_S + shift_S, 0.0, np.nextafter(1.0, 0.0)) * self.segments
        if self.kind == "gradual":
            near_S = np.clip(np.round(at_S), 1, self.segments - 1)  # the change that is nearest
            after_S = np.clip((at_S - near_S) / (self.width * self.segments) + 0.5, 0.0, 1.0)
            new_S = self.keys.uniform(device_S, index_S + 1, 1)[:, 0] < after_S
            at_S = np.where(new_S, near_S, near_S - 1)
        return np.floor(at_S).astype(np.int64) % self.concepts
