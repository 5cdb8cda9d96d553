"""A convolutional module as one forward pass for a block of devices.

The images of B devices lie side by side as channels, ``[b, B·C, h, w]``, so that one grouped
convolution, one group norm or one pooling serves them all, with the channels last in memory, where
the library's convolutions are fastest. :class:`Convolution` reads the module's ``forward`` once, as
a graph of its operations (``torch.fx``), and replays it in this form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from swarm.learning.kernels.convolution.forms import FUNCTIONS, LAYERS, METHODS, NoFormError, Value
from swarm.learning.kernels.kernel import Views
from swarm.learning.running_statistics import entries

# numbers of the largest intermediate value of the devices that run together: with more they do not
# fit into the cache
NUMBERS_AT_ONCE = 1 << 19


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
        x = {name: value.detach().unsqueeze(0) for name, value in entries(module).items()}
        sizes: list[int] = []
        start = Value(inputs.unsqueeze(0), x, 1)
        with torch.no_grad():
            self._replay(start, lambda value: sizes.append(math.prod(value.shape[1:])))
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
        """Return the predictions ``[B, b, C]`` for the inputs ``[B, b, *features]``, with the
        running statistics among the ``parameters``."""
        return self._replay(Value(inputs, parameters, len(inputs)))

    def learning_rows(self, parameters: Views, inputs: Tensor) -> tuple[Tensor, Views]:
        """Return the outputs ``[B, b, C]`` while devices learn from the inputs, and the running
        statistics after that."""
        learnt: Views = {}
        return self._replay(Value(inputs, parameters, len(inputs), learnt=learnt)), learnt

    def _replay(self, start: Value, look: Callable[[Value], object] = lambda _: None) -> Tensor:
        found: dict[fx.Node, Any] = {}
        for node in self._graph.nodes:
            if node.op == "placeholder":
                found[node] = start
                continue
            rest, named = fx.map_arg((node.args, node.kwargs), found.__getitem__)
            if node.op == "output":
                out: Value = rest[0]
                return out.as_samples()
            found[node] = self._apply(node, rest, named)
            if isinstance(found[node], Value):
                look(found[node])
            for used in self._last_uses[node]:
                del found[used]
        raise NoFormError

    def _apply(self, node: fx.Node, rest: Any, named: Any) -> Any:
        if node.op == "call_module":
            name, value = str(node.target), rest[0]
            layer = self._layers[name]
            own = {own: value.parameters[f"{name}.{own}"] for own, _ in layer.named_parameters()}
            for own_name, _ in layer.named_buffers():
                statistic = value.parameters[f"{name}.{own_name}"]
                if value.learnt is not None:
                    statistic = value.learnt[f"{name}.{own_name}"] = statistic.detach().clone()
                own[own_name] = statistic
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
