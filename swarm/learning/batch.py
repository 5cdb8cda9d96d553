"""The mini-batches of a block of devices, and the scores of their predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swarm.common.rng import derive

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """The next K mini-batches of b samples of B devices.

    Attributes:
        x: The inputs, ``[B, K, b, *features]``.
        target: The labels as the loss encodes them, ``[B, K, C, b]``, or ``[B, K, C, b · L]`` for L
            labels a sample.
        first: Which samples the device meets for the first time, ``[B, K, b]``; None: no sample.
        active: Which steps the device takes, ``[B, K]``; None: all of them.
        done: How many steps the device has taken before, ``[B]``.
        true_target: What predictions are scored by, if devices learn from other labels; None: the
            target.
        noise: The seed of the noise that modules draw while they learn.
        weight: How much each of the b samples (b · L labels) counts in the mean over the
            mini-batch, ``[B, b]``, where devices have mini-batches of several sizes; None: 1/b.
        there: Which places of a mini-batch hold a sample, ``[B, K, b]``, where its size is random;
            ``weight`` is ``[B, 1]`` then. None: all.
        device: The ids of the devices, ``[B]``, where noise is drawn for each of them, or the
            learner asks for them (``Learner.by_device``).
    """

    x: Tensor
    target: Tensor
    first: Tensor | None
    active: Tensor | None
    done: Tensor
    true_target: Tensor | None = None
    noise: int = 0
    weight: Tensor | None = None
    there: Tensor | None = None
    device: Ints | None = None

    def step(self, k: int) -> Batch:
        """The mini-batch with the number ``k`` alone."""
        names = ("x", "target", "first", "active", "true_target", "there")
        cut = {n: getattr(self, n)[:, k : k + 1] for n in names if getattr(self, n) is not None}
        noise = derive(self.noise, "alone", k) if self.noise else 0
        return replace(self, **cut, done=self.done + k, noise=noise)

    def of(self, place_m: Tensor) -> Batch:
        """The mini-batches of the m devices in these places alone."""
        place = place_m.cpu().numpy()
        return self._changed(lambda rows: rows.index_select(0, place_m), lambda ids: ids[place])

    def repeated(self, times: int) -> Batch:
        """The mini-batches of one device as those of so many devices, without a copy."""
        return self._changed(
            lambda rows: rows.expand(times, *rows.shape[1:]), lambda ids: np.repeat(ids, times)
        )

    def _changed(self, rows: Callable[[Tensor], Tensor], ids: Callable[[Ints], Ints]) -> Batch:
        """The batch whose tensors and ids of devices are what these functions make of them."""
        names = ("x", "target", "first", "active", "done", "true_target", "weight", "there")
        changed: dict[str, Any] = {
            n: rows(each) for n in names if (each := getattr(self, n)) is not None
        }
        if self.device is not None:
            changed["device"] = ids(self.device)
        return replace(self, **changed)


@dataclass(frozen=True)
class PredictionScores:
    """Scores of predictions that were made before learning from the samples, ``[B]`` each.

    ``loss_B`` is the mean loss over all samples of the active steps. ``scored_B`` counts the
    samples that a device met for the first time, and ``score_B`` adds up their scores
    (:meth:`Loss.score`); both are None if there are no such samples.
    """

    loss_B: Tensor
    scored_B: Tensor | None = None
    score_B: Tensor | None = None
