"""Moves images by cutting them out of a larger frame."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from swarm.common.errors import ConfigError
from swarm.learning.augmentation.base import Augmentation, Shape


class Crop(Augmentation):
    """Put ``padding`` pixels of 0 around an image and cut one of the old size out of it, each place
    equally likely, as in He et al. 2016.

    A pixel of 0 is black with ``data.scale=unit`` or ``none``, and the mean with ``standard``.
    """

    draws = 2

    def __init__(self, padding: int = 4) -> None:
        """Set the padding; raises :class:`ConfigError` unless it is a whole number above 0."""
        if isinstance(padding, bool) or not isinstance(padding, int) or padding < 1:
            raise ConfigError("padding", padding, "must be a whole number of pixels above 0")
        self.padding = padding

    def check(self, shape: Shape) -> None:
        """Refuse a padding as large as the image, of which nothing might be left."""
        if self.padding >= (least := min(shape[1:])):
            valid = f"must be less than {least}, the shorter side of the images"
            raise ConfigError("padding", self.padding, valid).under("augment")

    def beside(self, shape: Shape) -> float:
        """See :meth:`Augmentation.beside`: the images in their frames."""
        height, width = shape[1:]
        return (1 + 2 * self.padding / height) * (1 + 2 * self.padding / width)

    def __call__(self, x_nCHW: Tensor, u_nD: Tensor) -> Tensor:
        """See :meth:`Augmentation.__call__`."""
        n, channels, height, width = x_nCHW.shape
        device, p = x_nCHW.device, self.padding
        corner_n2 = (u_nD * (2 * p + 1)).long()
        row_nH = corner_n2[:, :1] + torch.arange(height, device=device)
        column_nW = corner_n2[:, 1:] + torch.arange(width, device=device)
        which = torch.arange(n, device=device)[:, None, None, None]
        channel = torch.arange(channels, device=device)[None, :, None, None]
        framed = pad(x_nCHW, (p, p, p, p))
        return framed[which, channel, row_nH[:, None, :, None], column_nW[:, None, None, :]]
