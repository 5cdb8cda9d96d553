"""SGD on parameters of few bits: they lie on a grid, to which they are rounded after every step."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from swarm.common.ranges import number
from swarm.common.rng import Keys, hashed_uniform
from swarm.common.rows import Layout
from swarm.learning.batch import Batch
from swarm.learning.kernels.kernel import Kernel, Views
from swarm.learning.kernels.losses import Loss
from swarm.learning.learner import Learner
from swarm.learning.model_compression.quantised import PLAIN, check_quantised
from swarm.learning.optim.optimizer import SGD, Optimizer
from swarm.learning.optim.schedule import Schedule

Rounding = Literal["nearest", "stochastic"]
Ints = npt.NDArray[np.int64]
MOST_MARGIN = 100.0


class QuantisedSGD(SGD):
    """:class:`SGD` of devices that store every parameter in ``bits`` bits.

    The grid of a group of ``group`` consecutive numbers of a parameter is fixed at the start:
    2^bits equal steps from the group's smallest to its largest number, both moved outwards by
    ``margin`` times their distance. Parameters are rounded to it at the start, after every step,
    and after they were combined with others; beyond its ends they stop. Gradients, and the slots of
    a momentum, are floating-point numbers, and so is what a step adds before it is rounded.

    * ``nearest``: a number goes to the nearest grid point, so that a step of less than half the
      distance between two of them changes nothing.
    * ``stochastic``: it goes to one of the two grid points beside it, to the nearer one more
      probably, so that it stays what it is on average (Gupta et al., ICML 2015, arXiv 1502.02551).
      Draws follow from seed, device and step.

    With 32 bits it is :class:`SGD`. Raises :class:`ConfigError` for other bits than 2 to 8 and 32,
    a group below 1, a margin outside [0, 100], and as :class:`SGD` does.
    """

    def __init__(
        self,
        lr: float,
        schedule: Schedule,
        bits: int = 8,
        group: int = 64,
        rounding: Rounding = "stochastic",
        margin: float = 0.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, schedule, momentum, nesterov, weight_decay)
        check_quantised(bits, group)
        number("margin", margin, 0, MOST_MARGIN)
        self.bits, self.group, self.rounding, self.margin = bits, group, rounding, margin

    @property
    def plain(self) -> bool:
        return super().plain and self.bits == PLAIN

    def grid(self, layout: Layout, start_P: Tensor, seed: int) -> Grid | None:
        """The grid of devices whose parameters start from ``start_P``; None with 32 bits."""
        if self.bits == PLAIN:
            return None
        draws = seed if self.rounding == "stochastic" else None
        return Grid(layout, start_P, self.bits, self.group, self.margin, draws)


class Grid:
    """Where the numbers of a row may lie: least + q · step with q from 0 to 2^bits − 1, where
    ``least_P`` and ``step_P`` are those of the number's group.

    A group of equal numbers c reaches from c − |c| to c + |c|, and one of zeros from −1 to 1,
    before the margin. ``seed`` is that of stochastic rounding; None: to the nearest.
    """

    def __init__(
        self,
        layout: Layout,
        start_P: Tensor,
        bits: int,
        group: int,
        margin: float,
        seed: int | None,
    ) -> None:
        self.top, self.seed = 2**bits - 1, seed
        group_P, count = _groups(layout, group)
        ends = torch.empty(count, dtype=start_P.dtype)
        start = start_P.detach().cpu()
        least_G = ends.scatter_reduce(0, group_P, start, "amin", include_self=False)
        most_G = ends.scatter_reduce(0, group_P, start, "amax", include_self=False)
        equal_G = least_G == most_G
        reach_G = torch.where(least_G == 0, 1.0, least_G.abs()) * equal_G
        least_G, most_G = least_G - reach_G, most_G + reach_G
        wider_G = margin * (most_G - least_G)
        least_G, most_G = least_G - wider_G, most_G + wider_G
        self.least_P = least_G[group_P].to(start_P.device)
        self.step_P = ((most_G - least_G) / self.top)[group_P].to(start_P.device)

    @property
    def sha256(self) -> str:
        """A hash of the grid, which says whether two are the same."""
        each = [part.detach().cpu().numpy().tobytes() for part in (self.least_P, self.step_P)]
        return hashlib.sha256(b"".join(each)).hexdigest()

    def points(self, q_BM: Tensor) -> Tensor:
        """The numbers with these places on the grid."""
        m = q_BM.shape[1]
        found: Tensor = self.least_P[:m] + self.step_P[:m] * q_BM
        return found

    def nearest(self, x_BM: Tensor) -> Tensor:
        """The nearest grid point of each of the first M numbers of some rows; of two that are
        equally near, the one with an even place."""
        return self.points(self._place(x_BM).round_())

    def rounded(self, x_BM: Tensor, device_B: Ints, step_B: Ints, when: str) -> Tensor:
        """The rows on the grid: to the nearest point, or at random by draws that follow from the
        seed, the device, the ``step`` and the purpose ``when``. A number that is on the grid
        already keeps its bits."""
        if self.seed is None:
            return self.nearest(x_BM)
        keys_B2 = Keys(self.seed, f"grid.{when}").words(device_B, step_B, 2)
        keys_B2[:, 1] |= 1
        u_BM = torch.from_numpy(hashed_uniform(keys_B2, x_BM.shape[1])).to(x_BM)
        place_BM = self._place(x_BM)
        # a point's place may come out a little below a whole number
        near_BM = self.points(place_BM.round())
        q_BM = place_BM.add_(u_BM).floor_().clamp_(0, self.top)
        return torch.where(near_BM == x_BM, x_BM, self.points(q_BM))

    def _place(self, x_BM: Tensor) -> Tensor:
        m = x_BM.shape[1]
        found: Tensor = (x_BM - self.least_P[:m]) / self.step_P[:m]
        return found.clamp_(0, self.top)


def _groups(layout: Layout, group: int) -> tuple[Tensor, int]:
    """The number of the group of each number of a row, ``[P]``, and how many groups there are."""
    found, count = [], 0
    for slot in layout.slots:
        own = torch.arange(slot.stop - slot.start) // group + count
        found.append(own)
        count = int(own[-1]) + 1 if len(own) else count
    return torch.cat(found), count


class GridLearner(Learner):
    """Takes local steps of which each ends on the grid."""

    by_device = True

    def __init__(
        self,
        kernel: Kernel,
        loss: Loss,
        optimizer: Optimizer,
        outputs: int,
        clip: float | None,
        grid: Grid,
    ) -> None:
        super().__init__(kernel, loss, optimizer, outputs, clip, False)
        self.grid = grid

    def uncompiled(self) -> Learner:
        """See :meth:`Learner.uncompiled`; it is never compiled."""
        arguments = self.kernel, self.loss, self.optimizer, self.outputs, self.clip
        return GridLearner(*arguments, self.grid)

    def _step_(
        self, x_BP: Tensor, g_BP: Tensor, slots: Views, rate: Tensor, t_B1: Tensor, batch: Batch
    ) -> None:
        super()._step_(x_BP, g_BP, slots, rate, t_B1, batch)
        assert batch.device is not None, "the loader gives the ids of devices by `by_device`"
        step_B = t_B1.flatten().cpu().numpy()
        x_BP.copy_(self.grid.rounded(x_BP, batch.device, step_B, "step"))
