"""Optimisers whose state is rows: slots ``[B, P]`` beside the parameters, updated in place for a
whole block.

``torch.optim`` keeps one Python object per parameter tensor and imports the compiler stack. These
optimisers apply the same formulas to rows, and tests compare both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.plugin import returned
from swarm.common.rows import Layout
from swarm.learning.optim.schedule import Schedule

if TYPE_CHECKING:
    from swarm.learning.optim.grid import Grid


class Optimizer(ABC):
    """An optimiser of a device: :meth:`step` turns gradients into an update of the rows.

    ``lr`` is the base learning rate, a number; for ``optimizer.lr=auto`` it is the rate that the
    search chose. Raises :class:`ConfigError` unless ``lr`` > 0 and ``weight_decay`` ≥ 0.
    """

    slots: tuple[str, ...] = ()
    """The names of the optimiser's own rows, such as ``("velocity",)``."""

    def __init__(self, lr: float, schedule: Schedule, weight_decay: float = 0.0) -> None:
        if not 0 < lr < float("inf"):
            raise ConfigError("lr", lr, "must be a positive number")
        if not 0 <= weight_decay < float("inf"):
            raise ConfigError("weight_decay", weight_decay, "must be a number ≥ 0")
        self.lr, self.schedule, self.weight_decay = lr, schedule, weight_decay

    @property
    def plain(self) -> bool:
        """Whether a step is x ← x − lr·∇ and nothing else; the kernel may then add it directly to
        the parameters.
        """
        return False

    @property
    def beyond_plain(self) -> dict[str, float]:
        """The options that add something to a plain step, with their values, of an optimiser that
        would be :attr:`plain` with 0 for each of them; empty where no option would make it so.

        A protocol that needs plain steps refuses the first of them.
        """
        return {}

    def rate(self, done: float, horizon: float) -> float:
        """Return the learning rate after ``done`` of ``horizon`` rounds.

        Raises :class:`ConfigError` for a schedule whose factor is not a finite number ≥ 0.
        """
        return self.lr * self.factor(done, horizon)

    def factor(self, done: float, horizon: float) -> float:
        """Return what the schedule makes of a rate after ``done`` of ``horizon`` rounds, as a
        factor. Raises as :meth:`rate` does.
        """
        factor = self.schedule.factor(done, horizon)
        if not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
            raise returned(
                "schedule", self.schedule, "factor", f"returns {factor!r}", "a number ≥ 0 is needed"
            )
        return factor

    def grid(self, layout: Layout, start_P: Tensor, seed: int) -> Grid | None:
        """Return the grid that parameters lie on, of devices that start from the row ``start_P``;
        None if they may be any numbers."""
        return None

    @abstractmethod
    def step(
        self, x_BP: Tensor, g_BP: Tensor, slots: dict[str, Tensor], lr: Tensor, t_B1: Tensor
    ) -> None:
        """Take one step of B devices, in place.

        Args:
            x_BP: The parameters, which the step changes.
            g_BP: The gradients, which the step may overwrite.
            slots: The optimiser's own rows ``[B, P]`` by name, zero at first, which the step
                changes.
            lr: The learning rate, ``[1, 1]``; ``[B, 1]`` where devices have rates of their own.
            t_B1: The number of each device's step, counted from 1.
        """


def check_step(optimizer: Optimizer, dtype: torch.dtype) -> None:
    """Refuse an optimiser whose step changes nothing, or that calls itself ``plain`` and is not.

    Raises :class:`ConfigError`.
    """
    x_BP = torch.linspace(-1.0, 1.0, 6, dtype=dtype).view(2, 3)
    g_BP, before_BP = torch.linspace(0.5, 1.0, 6, dtype=dtype).view(2, 3), x_BP.clone()
    slots = {name: torch.zeros_like(x_BP) for name in optimizer.slots}
    expected_BP = before_BP - 0.125 * g_BP
    optimizer.step(
        x_BP,
        g_BP.clone(),
        slots,
        torch.full((1, 1), 0.125, dtype=dtype),
        torch.ones(2, 1, dtype=torch.int64),
    )
    if torch.equal(x_BP, before_BP):
        needed = "it must write to x_BP itself, as in x_BP.sub_(lr * g_BP)"
        raise returned("optimizer", optimizer, "step", "changes nothing", needed)
    if optimizer.plain and not torch.allclose(x_BP, expected_BP):
        raise returned(
            "optimizer", optimizer, "step", "is not x − lr · g", "its `plain` must be False"
        )


class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v ← μv + ∇; x ← x − lr·v, or x − lr·(∇ + μv) with
    Nesterov's momentum (Sutskever et al., ICML 2013).

    Raises :class:`ConfigError` for a momentum outside [0, 1), and for Nesterov's without one.
    """

    def __init__(
        self,
        lr: float,
        schedule: Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, schedule, weight_decay)
        if not 0 <= momentum < 1:
            raise ConfigError("momentum", momentum, "must lie in [0, 1)")
        if nesterov and not momentum:
            raise ConfigError("nesterov", nesterov, "needs a momentum above 0")
        self.momentum, self.nesterov = momentum, nesterov
        self.slots = ("velocity",) if momentum else ()

    @property
    def plain(self) -> bool:
        return not self.momentum and not self.weight_decay

    @property
    def beyond_plain(self) -> dict[str, float]:
        added = {"momentum": self.momentum, "weight_decay": self.weight_decay}
        return {key: value for key, value in added.items() if value}

    def step(
        self, x_BP: Tensor, g_BP: Tensor, slots: dict[str, Tensor], lr: Tensor, t_B1: Tensor
    ) -> None:
        if self.weight_decay:
            g_BP.add_(x_BP, alpha=self.weight_decay)
        if self.momentum:
            v = slots["velocity"].mul_(self.momentum).add_(g_BP)
            g_BP = g_BP.add_(v, alpha=self.momentum) if self.nesterov else v
        x_BP.addcmul_(g_BP, lr, value=-1.0)


class Adam(Optimizer):
    """Adam (Kingma & Ba, arXiv 1412.6980); with ``decoupled`` weight decay it is AdamW (Loshchilov
    & Hutter, arXiv 1711.05101).

    Raises :class:`ConfigError` for a beta outside [0, 1), and an ``eps`` outside (0, 1).
    """

    slots = ("mean", "square")

    def __init__(
        self,
        lr: float,
        schedule: Schedule,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = True,
    ) -> None:
        super().__init__(lr, schedule, weight_decay)
        for name, value in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise ConfigError(name, value, "must lie in [0, 1)")
        if not 0 < eps < 1:
            raise ConfigError("eps", eps, "must lie in (0, 1)")
        self.beta1, self.beta2, self.eps, self.decoupled = beta1, beta2, eps, decoupled

    def step(
        self, x_BP: Tensor, g_BP: Tensor, slots: dict[str, Tensor], lr: Tensor, t_B1: Tensor
    ) -> None:
        if self.weight_decay and self.decoupled:
            x_BP.mul_(1 - lr * self.weight_decay)
        elif self.weight_decay:
            g_BP.add_(x_BP, alpha=self.weight_decay)
        m, v = slots["mean"], slots["square"]
        m.lerp_(g_BP, 1 - self.beta1)
        v.mul_(self.beta2).addcmul_(g_BP, g_BP, value=1 - self.beta2)
        t = t_B1.to(x_BP.dtype)
        size = lr / (1 - torch.pow(self.beta1, t))
        root = (v / (1 - torch.pow(self.beta2, t))).sqrt_().add_(self.eps)
        x_BP.sub_(m.div(root).mul_(size))


def clip_(g_BP: Tensor, norm: float) -> None:
    """Scale every device's gradient ``[P]`` in place to an L2 norm of at most ``norm``."""
    g_BP.mul_((norm / g_BP.norm(dim=1, keepdim=True).clamp_min_(1e-12)).clamp_max_(1.0))
