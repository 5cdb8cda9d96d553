"""Makes a smaller model of the parameters of a trained one: without its least important neurons, or
with fewer bits a number.

Both take and return a ``state_dict``, such as that of a device of a run; :func:`swarm.save_start`
writes it for ``init=FILE``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from swarm.common.rows import HasNeurons
from swarm.learning.model_compression.quantised import check_quantised, quantised


def prune_neurons(
    state: Mapping[str, Tensor], model: HasNeurons, widths: Sequence[int]
) -> dict[str, Tensor]:
    """Return the parameters of the same model with hidden layers of these ``widths``: of each layer
    the neurons stay whose weights in times weights out (Euclidean norms) are largest, in their
    order.

    Whole neurons are removed, as filters are by Li et al. (*Pruning filters for efficient
    convnets*, ICLR 2017, arXiv 1608.08710); the product does not change if a ReLU's weights in are
    scaled and its weights out are scaled back. All importances are those of the whole model.

    Args:
        state: The parameters of the trained model.
        model: A module of its shape, which says what belongs to which neuron.
        widths: The number of neurons that stay in each hidden layer.

    Raises ``ValueError`` for another number of widths than of hidden layers, and for a width below
    1 or above that of the layer.
    """
    layers = model.neurons()
    if len(widths) != len(layers):
        raise ValueError(f"there are {len(layers)} hidden layers, and {len(widths)} widths")
    found = {name: value.detach().clone() for name, value in state.items()}
    for layer, width in zip(layers, widths, strict=True):
        count = min(state[name].shape[axis] for name, axis in layer.items())
        if not 1 <= width <= count:
            raise ValueError(f"a width must be from 1 to the {count} neurons of the layer")
        stays = torch.topk(_importance(state, layer, count), width).indices.sort().values
        for name, axis in layer.items():
            each = state[name].shape[axis] // count  # entries of an axis that are one neuron's
            at = (stays[:, None] * each + torch.arange(each)).flatten()
            found[name] = found[name].index_select(axis, at)
    return found


def _importance(state: Mapping[str, Tensor], layer: Mapping[str, int], count: int) -> Tensor:
    """The product of the norms of each neuron's weights in (axis 0, the bias among them) and out,
    ``[count]``."""
    squares = {True: torch.zeros(count), False: torch.zeros(count)}
    for name, axis in layer.items():
        rows = state[name].detach().float().movedim(axis, 0).reshape(count, -1)
        squares[axis == 0] += rows.square().sum(1)
    return torch.sqrt(squares[True] * squares[False])


def quantise(state: Mapping[str, Tensor], bits: int, group: int = 64) -> dict[str, Tensor]:
    """Return the parameters with every matrix rounded to ``bits`` bits a number, and as numbers
    again: of ``group`` consecutive numbers the least and the largest are kept, and those between
    are rounded to the nearest of 2^bits values at equal distances (MiniCPM's int4, arXiv
    2404.06395). Vectors, such as biases, stay as they are.

    Raises :class:`~swarm.common.errors.ConfigError` as
    :func:`~swarm.learning.model_compression.quantised.check_quantised` does.
    """
    check_quantised(bits, group)
    return {
        name: quantised(value, bits, group) if value.ndim > 1 else value.detach().clone()
        for name, value in state.items()
    }
