"""How often a device passes tasks of several answers, each drawn from its own probabilities."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from swarm.common.rng import Keys
from swarm.common.statistics import passing_rate
from swarm.simulation.metrics.base import Floats, OutputMetric

AT_ONCE = 512  # attempts of all devices of a block that are drawn at a time

Answers = Annotated[int, Field(ge=1, le=10_000)]
Tasks = Annotated[int, Field(ge=1, le=100_000)]


class Tasked(OutputMetric):
    """A task is a row of ``answers`` test samples one after the other, and is passed by whoever has
    the right answer to all of them; there are ``tasks`` of them, or as many as the test samples
    suffice for.

    An answer is drawn from the probabilities of the softmax. Of text, where each position has an
    answer, that is the probability of writing these tokens exactly, as whoever passes has written
    what stands before each of them. What is kept of a block is the probability of the right answer
    for each device and sample.
    """

    better = "higher"
    target_kind = "classes"

    def __init__(self, answers: Answers = 5, tasks: Tasks = 50) -> None:
        self.answers, self.tasks = answers, tasks

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        """The probabilities of right answers, task by task, ``[B, J, A]``."""
        count = min(self.tasks, samples // self.answers)
        return torch.zeros(devices, count, self.answers, dtype=torch.float64)

    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        """See :meth:`OutputMetric.add`."""
        flat_BT = state_B.view(len(state_B), -1)
        count = min(len(y_b), flat_BT.shape[1] - at)
        if count > 0:
            sure_BCb = torch.softmax(out_BCb[:, :, :count].to(state_B.dtype), 1)
            index_1b = y_b[:count].expand(len(state_B), 1, -1)
            flat_BT[:, at : at + count] = sure_BCb.gather(1, index_1b).squeeze(1)

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        """See :meth:`OutputMetric.value`."""
        if not state_B.shape[1]:
            return torch.full((len(state_B),), torch.nan, dtype=torch.float64)
        right_BJA = state_B.cpu().numpy()
        return torch.from_numpy(self.rates(right_BJA).mean(1)).to(state_B.device)

    @abstractmethod
    def rates(self, right_BJA: Floats) -> Floats:
        """The passing rate of each device at each task, ``[B, J]``, from the probabilities of the
        right answers."""


class PassUntil(Tasked):
    """The passing rate, estimated as from a model whose probabilities cannot be seen: each task is
    tried until ``until`` attempts have passed, or ``most`` were made, and K attempts with r passes
    give (r − 1)/(K − 1), or r/K where ``most`` came first (Hu et al., *Predicting emergent
    abilities with infinite resolution evaluation*, arXiv 2310.03262). Both together are unbiased
    (:func:`~swarm.common.statistics.passing_rate`), so that means over devices, tasks and seeds
    are, too.

    All devices are tried with the same random numbers, which depend on the seed, the task and the
    attempt alone: what a device comes to does not depend on its block.
    """

    name = "passing"
    label = "passing rate"

    def __init__(
        self,
        answers: Answers = 5,
        tasks: Tasks = 50,
        until: Annotated[int, Field(ge=2, le=10_000)] = 10,
        most: Annotated[int, Field(ge=2, le=10_000_000)] = 5000,
        seed: int = 0,
    ) -> None:
        super().__init__(answers, tasks)
        self.until, self.most = until, most
        self.keys = Keys(seed, "metric/passing")

    def rates(self, right_BJA: Floats) -> Floats:
        """See :meth:`Tasked.rates`."""
        found_BJ = np.empty(right_BJA.shape[:2])
        for task in range(right_BJA.shape[1]):
            found_BJ[:, task] = self._tried(right_BJA[:, task], task)
        return found_BJ

    def _tried(self, right_BA: Floats, task: int) -> Floats:
        passes_B = np.zeros(len(right_BA), np.int64)
        attempts_B = np.zeros(len(right_BA), np.int64)
        open_b = np.arange(len(right_BA))
        for first in range(0, self.most, AT_ONCE):
            attempt_K = np.arange(first, min(first + AT_ONCE, self.most))
            draw_KA = self.keys.uniform(task, attempt_K, self.answers)
            passed_bK = (draw_KA < right_BA[open_b, None]).all(2)
            total_bK = passes_B[open_b, None] + passed_bK.cumsum(1)
            done_b = total_bK[:, -1] >= self.until
            last_b = np.where(done_b, (total_bK >= self.until).argmax(1) + 1, len(attempt_K))
            attempts_B[open_b] += last_b
            passes_B[open_b] = np.minimum(total_bK[:, -1], self.until)
            open_b = open_b[~done_b]
            if not len(open_b):
                break
        return passing_rate(passes_B, attempts_B, self.until)


class ExactPassing(Tasked):
    """The passing rate itself: the product of the probabilities of the right answers, mean over the
    tasks."""

    name = "passing_exact"
    label = "passing rate, from probabilities"

    def rates(self, right_BJA: Floats) -> Floats:
        """See :meth:`Tasked.rates`."""
        return np.asarray(right_BJA.prod(2))
