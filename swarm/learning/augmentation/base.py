"""The interface of an augmentation, and the chain of them that a run applies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.common.rng import Keys

Ints = npt.NDArray[np.int64]
Shape = tuple[int, ...]


class Augmentation(ABC):
    """A random change of training images.

    It sees the images of mini-batches that devices learn from, never those that they are tested on.
    What it does with an image must follow from the numbers drawn for that image alone.
    """

    draws: ClassVar[int] = 1
    """How many random numbers it needs for an image."""

    def check(self, shape: Shape) -> None:
        """Raise :class:`ConfigError` if images of ``shape`` ``(C, H, W)`` cannot be changed."""
        return

    def beside(self, shape: Shape) -> float:
        """How many copies of its images are in memory beside these and the result, at most."""
        return 1.0

    @abstractmethod
    def __call__(self, x_nCHW: Tensor, u_nD: Tensor) -> Tensor:
        """The images after the change, in the same shape; ``x_nCHW`` stays as it is.

        ``u_nD`` are uniform numbers in (0, 1), ``draws`` for each image.
        """


class Augmentations:
    """Augmentations that are applied one after the other.

    The numbers of a draw follow from the seed, the device, the number of the step among all steps
    of the device, the place in the mini-batch and the place of the augmentation in the list. So the
    bits do not depend on the engine, the shards, or whether the run was resumed.
    """

    def __init__(self, parts: Sequence[Augmentation], seed: int) -> None:
        self.parts = tuple(parts)
        self._keys = [Keys(seed, f"augment.{number}") for number in range(len(self.parts))]

    def check(self, shape: Shape, names: Sequence[str], image: bool) -> None:
        """Refuse data that are no images, and images that a part refuses.

        Raises :class:`ConfigError`.
        """
        if self.parts and not (image and len(shape) == 3):
            found = f"a sample of these data has the shape {list(shape)}"
            valid = f"must be [] unless the data are images [channels, height, width]; {found}"
            raise ConfigError("augment", list(names), valid)
        for part in self.parts:
            part.check(shape)

    def copies(self, shape: Shape) -> float:
        """How many copies of the images of ``shape`` are in memory at once: those to learn from as
        they are, what a part makes of them, that part's result, and what it needs beside these.
        """
        return max((2 + (k > 0) + p.beside(shape) for k, p in enumerate(self.parts)), default=1.0)

    def __call__(self, x: Tensor, devices_B: Ints, done_B: Ints) -> Tensor:
        """The images ``x``, ``[B, K, b, C, H, W]``, changed for the next K steps of B devices that
        took ``done_B`` steps before."""
        if not self.parts or not x.numel():
            return x
        count, steps, size = x.shape[:3]
        step_BK = done_B[:, None] + np.arange(steps)
        images = x.reshape(-1, *x.shape[3:])
        for part, keys in zip(self.parts, self._keys, strict=True):
            u = keys.uniform(devices_B[:, None], step_BK, size * part.draws)
            u_nD = torch.as_tensor(u.reshape(count * steps * size, part.draws), device=x.device)
            changed = part(images, u_nD)
            if changed.shape != images.shape or changed.dtype != images.dtype:
                valid = f"made {list(changed.shape[1:])} of images {list(images.shape[1:])}"
                raise ConfigError("augment", called(part), valid)
            images = changed
        return images.reshape(x.shape)
