"""Optimisers whose state is rows: ``[B, P]`` slots beside the parameters, updated in place for a
whole block.

``torch.optim`` keeps one Python object per parameter tensor and imports the compiler stack; these
are the same formulas over rows, checked against it by the tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.plugin import returned
from swarm.learning.optim.schedule import Schedule


class Optimizer(ABC):
    """``step`` turns a gradient into an update of the rows.

    ``lr`` is a number: where a run says ``optimizer.lr=auto``, the one that was chosen.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, lr: float, schedule: Schedule, weight_decay: float = 0.0) -> None:
        if not 0 < lr < float("inf"):
            raise ConfigError("lr", lr, "must be a positive number")
        if not 0 <= weight_decay < float("inf"):
            raise ConfigError("weight_decay", weight_decay, "must be a number ≥ 0")
        self.lr, self.schedule, self.weight_decay = lr, schedule, weight_decay

    @property
    def plain(self) -> bool:
        """True if a step is x ← x − lr·∇ and nothing else: the kernel may then write it straight
        into the rows.
        """
        return False

    def rate(self, done: float, horizon: float) -> float:
        """The learning rate after ``done`` of ``horizon`` rounds."""
        factor = self.schedule.factor(done, horizon)
        if not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
            raise returned(
                "schedule", self.schedule, "factor", f"returns {factor!r}", "a number ≥ 0 is needed"
            )
        return self.lr * factor

    @abstractmethod
    def step(
        self, x_BP: Tensor, g_BP: Tensor, slots: dict[str, Tensor], lr: Tensor, t_B1: Tensor
    ) -> None:
        """One step in place.

        ``lr`` is ``[1, 1]``, ``t_B1`` counts each device's steps from 1, ``slots`` start at zero;
        ``g_BP`` may be spoilt."""


def check_step(optimizer: Optimizer, dtype: torch.dtype) -> None:
    """Refuse a user's optimiser whose step leaves the rows as they are, or is not what ``plain``
    says of it.
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
    """v ← μv + ∇; x ← x − lr·v, or x − lr·(∇ + μv) with Nesterov's momentum (Sutskever et al., ICML
    2013).
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
    """Adam (Kingma & Ba, 1412.6980); with ``decoupled`` weight decay it is AdamW (Loshchilov &
    Hutter, 1711.05101).
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
    """Scale every device's gradient in place to an L2 norm of at most ``norm``."""
    g_BP.mul_((norm / g_BP.norm(dim=1, keepdim=True).clamp_min_(1e-12)).clamp_max_(1.0))
