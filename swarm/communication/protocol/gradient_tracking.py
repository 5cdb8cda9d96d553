"""Gradient tracking: every device follows the mean gradient of all devices, so that different data
leave no bias.

Nedić, Olshevsky & Shi, *Achieving geometric convergence for distributed optimization over
time-varying graphs*, SIAM J. Optim. 2017 (arXiv 1607.03218), has Y⁺ = WY + D⁺ − D and X⁺ = WX − Y.
This is its adapt-then-combine form, by Xu, Zhu, Soh & Xie, *Augmented distributed gradient
methods*, CDC 2015, and in arXiv 1609.05877 (ATC-DIGing).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from swarm.communication.mixing import Mixing, is_symmetric, smallest_eigenvalue
from swarm.communication.protocol.base import Links, Protocol, Requirements, Rows, State


def stable_below(least: float) -> float:
    """Return the product of rate and curvature from which on gradient tracking diverges on
    quadratics of one curvature, where the weights have the eigenvalue ``least`` < 0: (1 + λ)² /
    2λ².

    In the direction of an eigenvalue λ a round is the matrix [[λ, −λγ], [λh(λ − 1), λ − λ²γh]] on
    (x, y), whose characteristic polynomial at −1 is (1 + λ)² − 2λ²γh. It is positive while the
    round contracts.
    """
    return (1 + least) ** 2 / (2 * least**2)


class GradientTracking(Protocol):
    """Gradient tracking: Y⁺ = W(Y + D⁺ − D), Y₀ = D₀; X⁺ = W(X − Y). Σ_i y_i = Σ_i d_i in every
    round.

    D (``step``) is start − end of the local steps: γG for one step of SGD, but it is defined for
    any number of steps and any optimiser. The trackers Y of a round must be averaged before its
    parameters, so a round has two ``mix`` phases. A device that did not learn in a round keeps its
    D, and its tracker does not move its parameters.
    """

    phases = ("learn", "mix", "mix")
    requirements = Requirements(conserves="both", no_compression=True)

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"tracker": torch.zeros_like(x_NP), "step": torch.zeros_like(x_NP)}

    def check(self, mixing: Mixing) -> None:
        """Warn of symmetric W with an eigenvalue below −1/3, under which devices bear shorter steps
        than SGD does."""
        if not is_symmetric(mixing):
            return
        least = smallest_eigenvalue(mixing)
        if least < -1 / 3 - 1e-9:
            warnings.warn(
                f"protocol=GradientTracking: the mixing weights have the eigenvalue {least:.4f};"
                " below -1/3 gradient tracking diverges at learning rates that SGD bears (here from"
                f" rate times curvature {stable_below(least):.2g} on, instead of 2); mixing=lazy"
                " has no such eigenvalue",
                stacklevel=2,
            )

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        tracker, step = state.slots["tracker"], state.slots["step"]
        latest = start_BP - end_BP
        tracker[rows] = tracker[rows] + (latest - step[rows])
        step[rows] = latest

    def send(self, phase: int, state: State) -> Tensor:
        if phase == 1:
            return state.slots["tracker"]
        return state.x - state.learnt_N1 * state.slots["tracker"]

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        if phase == 2:
            state.x = received
        elif state.now.round > 1:  # Y₀ is D₀ itself
            state.slots["tracker"] = received
