"""Sends the neurons that changed most, each with all its weights, and their numbers.

With selective activation, a device whose samples activate few of its neurons changes only those;
the rest of its update is zero and need not be sent. This is top-k over groups of coordinates: it is
biased, and a contraction, ‖v − C(v)‖² ≤ (1 − Π_l k_l/H_l) ‖v‖², if k_l of the H_l neurons of layer
l are kept (for one hidden layer as for top-k: Stich, Cordonnier, Jaggi, NeurIPS 2018, arXiv
1809.07599).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rows import Hidden, Layout, ParameterSpec
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.compression.row_blocks import row_blocks
from swarm.communication.compression.sparse import index_bits


class Neurons(Compressor):
    """C(v) keeps k = max(1, round(``share`` · H)) of the H neurons of every hidden layer, and all
    numbers that belong to no neuron.

    They are the neurons with the largest ‖·‖² over all their weights (into the neuron, out of it,
    its bias, its row of a selector); of equal ones, those with the lower number. A weight between
    two hidden layers is sent if both its neurons are. Layers choose in their order, from the
    weights that earlier layers kept.

    Raises :class:`ConfigError` for a share outside (0, 1], for a model that states no hidden
    neurons (:class:`~swarm.common.rows.HasNeurons`), and from :meth:`bits` for payloads that are
    not one model's parameters.
    """

    whole_rows = True

    def __init__(
        self, layout: Layout, share: float = 0.25, feedback: bool = True, number_bits: int = 32
    ) -> None:
        if not 0 < share <= 1:
            raise ConfigError(
                "share",
                share,
                "must be above 0 and at most 1: the share of a layer's neurons that is sent",
            )
        if not layout.hidden:
            raise ConfigError(
                "share",
                share,
                "finds no hidden neurons that this model states (selective, mlp with a hidden layer"
                " and cnn do); choose another model or compressor",
            )
        self.layout, self.share, self.feedback, self.number_bits = (
            layout,
            share,
            feedback,
            number_bits,
        )
        self._slots = {slot.name: slot for slot in layout.slots}

    def kept(self, layer: Hidden) -> int:
        """Return k, the number of neurons of a layer that are sent."""
        return max(1, round(self.share * layer.width))

    def __call__(self, v_nM: Tensor, draw: Draw) -> Tensor:
        out = v_nM.clone()
        for rows in row_blocks(v_nM):
            for layer in self.layout.hidden:
                views = [
                    _by_neuron(out[rows], self._slots[name], axis, layer)
                    for name, axis in layer.axes
                ]
                left_nH = ~largest(sum_of_squares(views), self.kept(layer))
                for view_naHb in views:
                    view_naHb.masked_fill_(left_nH[:, None, :, None], 0.0)
        return out

    def bits(self, width: int) -> int:
        """Return the bits of the values that are sent, and for each layer those of
        :meth:`naming`.

        Raises :class:`ConfigError` unless ``width`` is the number of the model's parameters.
        """
        if width != self.layout.width:
            raise ConfigError(
                "share",
                self.share,
                f"finds neurons in a model's {self.layout.width} parameters only, but the protocol "
                f"sends {width} numbers; choose another compressor or protocol",
            )
        return sum(map(self.values, self.layout.slots)) * self.number_bits + sum(
            map(self.naming, self.layout.hidden)
        )

    def values(self, slot: ParameterSpec) -> int:
        """Return how many numbers of a parameter are sent."""
        count = math.prod(slot.shape)
        for layer in self.layout.hidden:
            if slot.name in dict(layer.axes):
                count = count // layer.width * self.kept(layer)
        return count

    def naming(self, layer: Hidden) -> int:
        """Return the bits that say which neurons of a layer are sent: their numbers, or one bit for
        each neuron, whichever is less; 0 if all are sent.
        """
        k = self.kept(layer)
        return 0 if k == layer.width else min(k * index_bits(layer.width), layer.width)


def _by_neuron(v_nM: Tensor, slot: ParameterSpec, axis: int, layer: Hidden) -> Tensor:
    """A parameter as a view ``[n, before, H, after]`` with its neurons on an axis of their own."""
    return v_nM[:, slot.start : slot.stop].view(
        len(v_nM), math.prod(slot.shape[:axis]), layer.width, -1
    )


def sum_of_squares(views: list[Tensor]) -> Tensor:
    """Return each neuron's sum of squares, ``[n, H]``, in float64, which holds the square of any
    float32.
    """
    return torch.stack([view.double().square().sum((1, 3)) for view in views]).sum(0)


def largest(size_nH: Tensor, k: int) -> Tensor:
    """Return a mask of the k largest numbers of each row; of equal ones the first are taken, and a
    NaN is larger than any number.
    """
    order_nH = size_nH.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(size_nH, dtype=torch.bool).scatter_(1, order_nH[:, :k], True)
