"""A convolutional module as one forward pass for a block of devices.

The images of B devices lie side by side as channels, ``[b, B·C, h, w]``, so that one grouped
convolution, one group norm or one pooling serves them all, with the channels last in memory, where
the library's convolutions are fastest. :class:`Convolution` reads the module's ``forward`` once, as
a graph of its operations (``torch.fx``), and replays it in this form.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from swarm.learning.kernels.kernel import Views

# numbers of the largest intermediate value of the devices that run together: with more they do not
# fit into the cache
NUMBERS_AT_ONCE = 1 << 19
IMAGE_AXES = 3


class _NoFormError(Exception):
    """The module has an operation that has no form for a block of devices."""


@dataclass(frozen=True)
class _Value:
    """An intermediate value of the B devices with the ``parameters``, ``[B, *shape]`` each.

    ``x`` is ``[b, B·C, h, w]`` for images, else ``[B, b, *shape]``.
    """

    x: Tensor
    parameters: Views
    devices: int
    images: bool = False

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
            raise _NoFormError
        side_by_side = self.x.transpose(0, 1).flatten(1, 2)
        return side_by_side.contiguous(memory_format=torch.channels_last)

    def as_samples(self) -> Tensor:
        """The value as ``[B, b, *shape]``."""
        if not self.images:
            return self.x
        return self.x.view(len(self.x), self.devices, -1, *self.x.shape[2:]).transpose(0, 1)

    def images_of(self, x: Tensor) -> _Value:
        """Images ``[b, B·C, h, w]`` of the same devices."""
        return replace(self, x=x, images=True)

    def samples_of(self, x: Tensor) -> _Value:
        """Samples ``[B, b, *shape]`` of the same devices."""
        return replace(self, x=x, images=False)


# --- layers ---------------------------------------------------------------------------------------


def _convolution(layer: nn.Conv2d, value: _Value, own: Views) -> _Value:
    if layer.padding_mode != "zeros":
        raise _NoFormError
    weight = own["weight"].flatten(0, 1).contiguous(memory_format=torch.channels_last)
    bias = own["bias"].flatten() if "bias" in own else None
    groups, x = layer.groups * value.devices, value.as_images()
    out = functional.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, groups)
    return value.images_of(out)


def _group_norm(layer: nn.GroupNorm, value: _Value, own: Views) -> _Value:
    weight, bias = (own["weight"].flatten(), own["bias"].flatten()) if own else (None, None)
    groups = layer.num_groups * value.devices
    out = functional.group_norm(value.as_images(), groups, weight, bias, layer.eps)
    return value.images_of(out)


def _linear(layer: nn.Linear, value: _Value, own: Views) -> _Value:
    x_BbD = value.as_samples()
    if x_BbD.ndim != 3:
        raise _NoFormError
    weight = own["weight"].transpose(1, 2)
    if "bias" not in own:
        return value.samples_of(torch.bmm(x_BbD, weight))
    return value.samples_of(torch.baddbmm(own["bias"].unsqueeze(1), x_BbD, weight))


def _pooling(layer: nn.Module, value: _Value, own: Views) -> _Value:
    return value.images_of(layer(value.as_images()))


def _pointwise(layer: nn.Module, value: _Value, own: Views) -> _Value:
    return replace(value, x=layer(value.x))


def _flatten_layer(layer: nn.Flatten, value: _Value, own: Views) -> _Value:
    return _flattened(value, layer.start_dim, layer.end_dim)


def _unflatten_layer(layer: nn.Unflatten, value: _Value, own: Views) -> _Value:
    sizes: Any = layer.unflattened_size
    if layer.dim != 1 or len(value.shape) != 2:
        raise _NoFormError
    return _reshaped(value, value.shape[0], *sizes)


LAYERS: dict[type[nn.Module], Callable[[Any, _Value, Views], _Value]] = {
    nn.Conv2d: _convolution,
    nn.GroupNorm: _group_norm,
    nn.Linear: _linear,
    nn.Flatten: _flatten_layer,
    nn.Unflatten: _unflatten_layer,
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d), _pooling),
    **dict.fromkeys((nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU), _pointwise),
    **dict.fromkeys((nn.Tanh, nn.Sigmoid, nn.Identity), _pointwise),
}

# --- functions and methods ------------------------------------------------------------------------


def _flattened(value: _Value, start_dim: int = 0, end_dim: int = -1) -> _Value:
    if start_dim != 1 or end_dim not in (-1, len(value.shape) - 1):
        raise _NoFormError
    return value.samples_of(value.as_samples().flatten(2))


def _reshaped(value: _Value, *shape: Any) -> _Value:
    """``x.reshape(b, …)``, which may not mix samples."""
    sizes = shape if isinstance(shape[0], int) else tuple(shape[0])
    samples, rest = value.shape[0], list(sizes[1:])
    whole = math.prod(value.shape[1:])
    if sizes[0] == samples and -1 in rest:
        rest[rest.index(-1)] = whole // math.prod(size for size in rest if size != -1)
    if sizes[0] not in (-1, samples) or math.prod(rest) != whole:
        raise _NoFormError
    return value.samples_of(value.as_samples().reshape(value.devices, samples, *rest))


def _size(value: _Value, axis: int | None = None) -> Any:
    return value.shape if axis is None else value.shape[axis]


def _attribute(value: _Value, name: str) -> Any:
    if name != "shape":
        raise _NoFormError
    return value.shape


def _mean(value: _Value, dim: Any, keepdim: bool = False) -> _Value:
    """The mean over an image's pixels, for each channel."""
    if len(value.shape) != 1 + IMAGE_AXES or sorted(axis % 4 for axis in dim) != [2, 3]:
        raise _NoFormError
    return value.samples_of(value.as_samples().mean((3, 4), keepdim))


def _sum(a: _Value, b: _Value) -> _Value:
    if a.shape != b.shape:
        raise _NoFormError
    if a.images or b.images:
        return a.images_of(a.as_images() + b.as_images())
    return a.samples_of(a.x + b.x)


def _on_numbers(function: Callable[..., Tensor]) -> Callable[..., _Value]:
    """The form of a function that treats every number alike."""
    return lambda value, *rest, **named: replace(value, x=function(value.x, *rest, **named))


def _on_images(function: Callable[..., Tensor]) -> Callable[..., _Value]:
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


# --- the whole ------------------------------------------------------------------------------------


class Convolution:
    """The forward pass of a convolutional module for B devices, as
    :class:`~swarm.learning.kernels.batched.BatchedForward`.

    ``numbers`` is the size of the largest intermediate value of a sample.
    """

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        self._layers = dict(module.named_modules())
        self._graph = fx.Tracer().trace(module)
        _pool_first(self._graph, self._layers)
        self._last_uses = _last_uses(self._graph)
        x = {name: p.detach().unsqueeze(0) for name, p in module.named_parameters()}
        sizes: list[int] = []
        with torch.no_grad():
            self._replay(x, inputs.unsqueeze(0), lambda v: sizes.append(math.prod(v.shape[1:])))
        self.numbers = max(sizes)

    @classmethod
    def match(cls, module: nn.Module, inputs: Tensor) -> Convolution | None:
        """Return the forward pass of a module that has a convolution, and whose every operation has
        a form for B devices; else None. ``inputs`` are a few samples ``[b, *features]``.
        """
        parts = list(module.modules())
        hooked = any(part._forward_hooks or part._forward_pre_hooks for part in parts)
        if hooked or not any(type(part) is nn.Conv2d for part in parts):
            return None
        try:
            return cls(module, inputs)
        except Exception:  # what cannot be traced may raise anything; another kernel runs it
            return None

    def devices_at_once(self, samples: int) -> int:
        """How many devices run together, for mini-batches of ``samples``."""
        return max(1, NUMBERS_AT_ONCE // (samples * self.numbers))

    def over_rows(self, parameters: Views, inputs: Tensor) -> Tensor:
        """Return the outputs ``[B, b, C]`` for the inputs ``[B, b, *features]``."""
        return self._replay(parameters, inputs, lambda _: None)

    def _replay(
        self, parameters: Views, inputs: Tensor, look: Callable[[_Value], object]
    ) -> Tensor:
        found: dict[fx.Node, Any] = {}
        for node in self._graph.nodes:
            if node.op == "placeholder":
                found[node] = _Value(inputs, parameters, len(inputs))
                continue
            rest, named = fx.map_arg((node.args, node.kwargs), found.__getitem__)
            if node.op == "output":
                out: _Value = rest[0]
                return out.as_samples()
            found[node] = self._apply(node, rest, named)
            if isinstance(found[node], _Value):
                look(found[node])
            for used in self._last_uses[node]:
                del found[used]
        raise _NoFormError

    def _apply(self, node: fx.Node, rest: Any, named: Any) -> Any:
        if node.op == "call_module":
            name, value = str(node.target), rest[0]
            layer = self._layers[name]
            names = [own for own, _ in layer.named_parameters()]
            own = {own: value.parameters[f"{name}.{own}"] for own in names}
            return LAYERS[type(layer)](layer, value, own)
        forms: Mapping[Any, Callable[..., Any]] = (
            FUNCTIONS if node.op == "call_function" else METHODS
        )
        return forms[node.target](*rest, **named)


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """The values that nothing needs after each operation."""
    found: dict[fx.Node, list[fx.Node]] = {node: [] for node in graph.nodes}
    seen: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        for used in {*node.all_input_nodes, node} - seen:
            seen.add(used)
            found[node].append(used)
    return found


def _pool_first(graph: fx.Graph, layers: Mapping[str, nn.Module]) -> None:
    """Put a rectifier that a maximum follows behind it, where it has fewer numbers to look at.

    max(relu(x)) = relu(max(x)), bit by bit, and so are the derivatives.
    """

    def is_a(node: fx.Node, kinds: tuple[Any, ...]) -> bool:
        target = layers.get(str(node.target)) if node.op == "call_module" else None
        return (target.__class__ if target is not None else node.target) in kinds

    for pool in list(graph.nodes):
        relu = pool.args[0] if pool.args else None
        if not (is_a(pool, _MAXIMUM) and isinstance(relu, fx.Node) and is_a(relu, _RECTIFIER)):
            continue
        if len(relu.users) > 1 or len(pool.all_input_nodes) > 1:
            continue
        users = list(pool.users)
        pool.update_arg(0, relu.args[0])
        relu.update_arg(0, pool)
        for user in users:
            user.replace_input_with(pool, relu)
        pool.append(relu)


_MAXIMUM = (nn.MaxPool2d, functional.max_pool2d)
_RECTIFIER = (nn.ReLU, functional.relu, torch.relu, "relu")
