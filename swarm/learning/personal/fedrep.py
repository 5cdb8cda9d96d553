"""FedRep (Collins, Hassani, Mokhtari & Shakkottai, ICML 2021, arXiv 2102.07078)."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.names import Maybe, listed, named, titled
from swarm.common.rows import Layout
from swarm.learning.kernels.kernel import Views
from swarm.learning.learner import PredictionScores
from swarm.learning.personal.base import Ints, LocalSteps, Personal, joined


class FedRep(Personal):
    """Of the local steps of a round the first ``head_steps`` change only what a device keeps for
    itself, and the others only what it sends: with ``share=body`` first the head, on a body that
    stands still, then the body under that head.

    Raises :class:`ConfigError` unless ``head_steps`` ≥ 1.
    """

    def __init__(self, head_steps: int = 3) -> None:
        if head_steps < 1:
            raise ConfigError("head_steps", head_steps, "must be a number of steps ≥ 1")
        self.head_steps = head_steps
        self.sent = 0

    def check(self, layout: Layout, steps_N: Ints, names: Maybe | None) -> None:
        """See :meth:`Personal.check`."""
        if not layout.local:
            valid = "must leave something that devices keep with personal=fedrep; body would do"
            raise ConfigError("/share", "all", valid)
        few = np.flatnonzero(steps_N <= self.head_steps)
        if len(few):
            steps = f"the {steps_N[0]} local steps of a round: the others learn the body"
            if (steps_N != steps_N[0]).any():
                who = [f"{titled(d, named(names, d))} takes {steps_N[d]}" for d in few.tolist()]
                steps = "every device's local steps of a round: the others learn the body, and "
                steps += listed(who)
            raise ConfigError("head_steps", self.head_steps, f"must be below {steps}")
        self.sent = layout.sent.width

    def learn(
        self, steps: LocalSteps, x_BP: Tensor, kept: Views
    ) -> tuple[Tensor, PredictionScores]:
        """See :meth:`Personal.learn`."""
        scores = []
        for k in range(steps.count):
            still = slice(self.sent) if k < self.head_steps else slice(self.sent, None)
            before = [(rows, rows[:, still].clone()) for rows in steps.slots.values()]
            learnt_BP, found = steps.shared(x_BP, k)
            learnt_BP[:, still] = x_BP[:, still]
            for rows, old in before:
                rows[:, still] = old
            x_BP = learnt_BP
            scores.append(found)
        return x_BP, joined(scores, steps.batch)
