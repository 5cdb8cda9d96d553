"""The operations of a convolutional module in their forms for a block of devices."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from swarm.learning.kernels.kernel import Views

IMAGE_AXES = 3


class NoFormError(Exception):
    """The module has an operation that has no form for a block of devices."""


@dataclass(frozen=True)
class Value:
    """An intermediate value of the B devices with the ``parameters``, ``[B, *shape]`` each.

    ``x`` is ``[b, B·C, h, w]`` for images, else ``[B, b, *shape]``. ``learnt`` takes the running
    statistics after this mini-batch; it is None where devices predict.
    """

    x: Tensor
    parameters: Views
    devices: int
    images: bool = False
    learnt: Views | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """``[b, *shape]`` of one device."""
        if self.images:
            return (self.x.shape[0], self.x.shape[1] // self.devices, *self.x.shape[2:])
        return tuple(self.x.shape[1:])

    def as_images(self) -> Tensor:
        """The value as ``[b, B·C, h, w]``, channels last in memory."""
        if self.images:
            return self.x
        if len(self.shape) != 1 + IMAGE_AXES:
            raise NoFormError
        side_by_side = self.x.transpose(0, 1).flatten(1, 2)
        return side_by_side.contiguous(memory_format=torch.channels_last)

    def as_samples(self) -> Tensor:
        """The value as ``[B, b, *shape]``."""
        if not self.images:
            return self.x
        return self.x.view(len(self.x), self.devices, -1, *self.x.shape[2:]).transpose(0, 1)

    def images_of(self, x: Tensor) -> Value:
        """Images ``[b, B·C, h, w]`` of the same devices."""
        return replace(self, x=x, images=True)

    def samples_of(self, x: Tensor) -> Value:
        """Samples ``[B, b, *shape]`` of the same devices."""
        return replace(self, x=x, images=False)


# --- layers ---------------------------------------------------------------------------------------


def _convolution(layer: nn.Conv2d, value: Value, own: Views) -> Value:
    if layer.padding_mode != "zeros":
        raise NoFormError
    weight = own["weight"].flatten(0, 1).contiguous(memory_format=torch.channels_last)
    bias = own["bias"].flatten() if "bias" in own else None
    groups, x = layer.groups * value.devices, value.as_images()
    out = functional.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, groups)
    return value.images_of(out)


def _group_norm(layer: nn.GroupNorm, value: Value, own: Views) -> Value:
    weight, bias = (own["weight"].flatten(), own["bias"].flatten()) if own else (None, None)
    groups = layer.num_groups * value.devices
    out = functional.group_norm(value.as_images(), groups, weight, bias, layer.eps)
    return value.images_of(out)


def _batch_norm(layer: _BatchNorm, value: Value, own: Views) -> Value:
    """Over the samples of each device, as no other device has its channels."""
    if "running_mean" not in own or layer.momentum is None:
        raise NoFormError
    learns, least = value.learnt is not None, own["running_var"].clamp_min(0)
    if learns:  # the statistics are copies, for what they are after this mini-batch
        own["running_var"].copy_(least)
        own["num_batches_tracked"].round_().add_(1)
        least = own["running_var"]
    mean, variance = own["running_mean"].flatten(), least.flatten()
    weight, bias = (
        (own["weight"].flatten(), own["bias"].flatten()) if layer.affine else (None, None)
    )
    flat = len(value.shape) == 2
    x = value.as_samples().transpose(0, 1).flatten(1) if flat else value.as_images()
    momentum, eps = layer.momentum, layer.eps
    out = functional.batch_norm(x, mean, variance, weight, bias, learns, momentum, eps)
    if flat:
        return value.samples_of(out.view(len(out), value.devices, -1).transpose(0, 1))
    return value.images_of(out)


def _linear(layer: nn.Linear, value: Value, own: Views) -> Value:
    x_BbD = value.as_samples()
    if x_BbD.ndim != 3:
        raise NoFormError
    weight = own["weight"].transpose(1, 2)
    if "bias" not in own:
        return value.samples_of(torch.bmm(x_BbD, weight))
    return value.samples_of(torch.baddbmm(own["bias"].unsqueeze(1), x_BbD, weight))


def _pooling(layer: nn.Module, value: Value, own: Views) -> Value:
    return value.images_of(layer(value.as_images()))


def _pointwise(layer: nn.Module, value: Value, own: Views) -> Value:
    return replace(value, x=layer(value.x))


def _flatten_layer(layer: nn.Flatten, value: Value, own: Views) -> Value:
    return _flattened(value, layer.start_dim, layer.end_dim)


def _unflatten_layer(layer: nn.Unflatten, value: Value, own: Views) -> Value:
    sizes: Any = layer.unflattened_size
    if layer.dim != 1 or len(value.shape) != 2:
        raise NoFormError
    return _reshaped(value, value.shape[0], *sizes)


LAYERS: dict[type[nn.Module], Callable[[Any, Value, Views], Value]] = {
    nn.Conv2d: _convolution,
    nn.GroupNorm: _group_norm,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), _batch_norm),
    nn.Linear: _linear,
    nn.Flatten: _flatten_layer,
    nn.Unflatten: _unflatten_layer,
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d), _pooling),
    **dict.fromkeys((nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU), _pointwise),
    **dict.fromkeys((nn.Tanh, nn.Sigmoid, nn.Identity), _pointwise),
}

# --- functions and methods ------------------------------------------------------------------------


def _flattened(value: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    if start_dim != 1 or end_dim not in (-1, len(value.shape) - 1):
        raise NoFormError
    return value.samples_of(value.as_samples().flatten(2))


def _reshaped(value: Value, *shape: Any) -> Value:
    """``x.reshape(b, …)``, which may not mix samples."""
    sizes = shape if isinstance(shape[0], int) else tuple(shape[0])
    samples, rest = value.shape[0], list(sizes[1:])
    whole = math.prod(value.shape[1:])
    if sizes[0] == samples and -1 in rest:
        rest[rest.index(-1)] = whole // math.prod(size for size in rest if size != -1)
    if sizes[0] not in (-1, samples) or math.prod(rest) != whole:
        raise NoFormError
    return value.samples_of(value.as_samples().reshape(value.devices, samples, *rest))


def _size(value: Value, axis: int | None = None) -> Any:
    return value.shape if axis is None else value.shape[axis]


def _attribute(value: Value, name: str) -> Any:
    if name != "shape":
        raise NoFormError
    return value.shape


def _mean(value: Value, dim: Any, keepdim: bool = False) -> Value:
    """The mean over an image's pixels, for each channel."""
    if len(value.shape) != 1 + IMAGE_AXES or sorted(axis % 4 for axis in dim) != [2, 3]:
        raise NoFormError
    return value.samples_of(value.as_samples().mean((3, 4), keepdim))


def _sum(a: Value, b: Value) -> Value:
    if a.shape != b.shape:
        raise NoFormError
    if a.images or b.images:
        return a.images_of(a.as_images() + b.as_images())
    return a.samples_of(a.x + b.x)


def _on_numbers(function: Callable[..., Tensor]) -> Callable[..., Value]:
    """The form of a function that treats every number alike."""
    return lambda value, *rest, **named: replace(value, x=function(value.x, *rest, **named))


def _on_images(function: Callable[..., Tensor]) -> Callable[..., Value]:
    """The form of a function that treats every channel alike."""
    return lambda value, *rest, **named: value.images_of(
        function(value.as_images(), *rest, **named)
    )


_ON_NUMBERS = (
    functional.relu, functional.leaky_relu, functional.elu, functional.gelu, functional.silu,
    functional.tanh, functional.sigmoid, torch.relu, torch.tanh, torch.sigmoid,
)  # fmt: skip
_ON_IMAGES = (functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d)
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{function: _on_numbers(function) for function in _ON_NUMBERS},
    **{function: _on_images(function) for function in _ON_IMAGES},
    **dict.fromkeys((operator.add, operator.iadd, torch.add), _sum),
    torch.flatten: _flattened,
    torch.mean: _mean,
    torch.reshape: _reshaped,
    getattr: _attribute,
    operator.getitem: operator.getitem,
}
METHODS: dict[str, Callable[..., Any]] = {
    **{name: _on_numbers(getattr(torch, name)) for name in ("relu", "tanh", "sigmoid")},
    **dict.fromkeys(("view", "reshape"), _reshaped),
    **dict.fromkeys(("add", "add_"), _sum),
    "flatten": _flattened,
    "mean": _mean,
    "size": _size,
    "contiguous": lambda value: value,
}
