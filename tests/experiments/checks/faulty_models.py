"""Models that fail in every way we could think of, one class each, and some that are right;
tests/experiments/checks/test_faulty_plugins.py runs them.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import torch
from torch import Tensor, nn

Features = tuple[int, ...]


class Linear(nn.Module):
    """A good one, for the others to spoil."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(math.prod(features), outputs)

    def forward(self, x: Tensor) -> Any:
        return self.head(x.flatten(1))


class Detached(Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).detach()


class ArgMax(Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).round().long()


class Complex(Linear):
    def forward(self, x: Tensor) -> Any:
        return torch.complex(super().forward(x), super().forward(x))


class OneRowTooMany(Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).unsqueeze(-1)


class InPlace(Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.mul_(2))


class MaxNorm(Linear):
    """An embedding of grey levels, whose vectors are made shorter as they are looked up."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.table = nn.Embedding(17, 4, max_norm=0.1)

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + self.table((16 * x).long()).mean((1, 2))[:, None]


class Double(Linear):
    """Parameters of another type than the run's."""

    def __init__(self, features: Features, outputs: int, kind: str = "float64") -> None:
        super().__init__(features, outputs)
        self.to(getattr(torch, kind))


class InPlaceInTheGraph(Linear):
    """Torch says so in the backward pass, where no line of this file runs."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).tanh().add_(1)


class AsksForTooMuch(Linear):
    """As it is made, when it is called, or when its gradient is taken."""

    def __init__(self, features: Features, outputs: int, when: str) -> None:
        super().__init__(features, outputs)
        self.when = when
        if when == "made":
            raise MemoryError

    def forward(self, x: Tensor) -> Any:
        if self.when == "called" or (self.when == "learns" and torch.is_grad_enabled()):
            torch.empty(1 << 60, dtype=torch.uint8)
        return super().forward(x)


class NotANumber(Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) / super().forward(x).mul(0)[:, :1] * 0


class Listed(Linear):
    """Computes with a list of its own instead of the registered parameters."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.all = [self.head.weight, self.head.bias]

    def forward(self, x: Tensor) -> Any:
        return x.flatten(1) @ self.all[0].T + self.all[1]


class Carries(Linear):
    """Keeps a state from call to call."""

    state: Any = 0.0

    def forward(self, x: Tensor) -> Any:
        self.state = super().forward(x) + self.state
        return self.state


class Exits(Linear):
    def forward(self, x: Tensor) -> Any:
        sys.exit(0)


class Lazy(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.head = nn.LazyLinear(outputs)

    def forward(self, x: Tensor) -> Any:
        return self.head(x.flatten(1))


class SharedMemory(Linear):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.other = nn.Parameter(self.head.weight.data)

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + x.flatten(1) @ self.other.T


class ExtraState(Linear):
    def get_extra_state(self) -> Any:
        return {"calls": 3}


class KeyErrorInConstructor(Linear):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        {}["width"]


class ExitInConstructor(Linear):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        sys.exit(0)


class InterruptInConstructor(Linear):
    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        raise KeyboardInterrupt


class FailsInBackward(Linear):
    def forward(self, x: Tensor) -> Any:
        out = super().forward(x)
        if out.requires_grad:
            out.register_hook(_not_today)
        return out


def _not_today(gradient: Tensor) -> Tensor:
    raise LookupError("no gradient today")


# --- and some that are right ----------------------------------------------------------------------


class Unused(Linear):
    """Has a parameter that takes no part in the output."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__(features, outputs)
        self.spare = nn.Linear(4, 1, bias=False)


class UnusedAndLooped(Unused):
    """The same, with an ``if`` that vmap cannot take."""

    def forward(self, x: Tensor) -> Any:
        out = super().forward(x)
        return out if out.sum() > -1e9 else -out
