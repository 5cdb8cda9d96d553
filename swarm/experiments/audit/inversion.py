"""Gradient inversion: what the samples of a step looked like, from the message after it.

A device that has taken one plain step sends x − lr·g. Whoever knows x, which is common to all
devices at the start, knows the gradient g of its samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from swarm.common.rng import Keys
from swarm.common.rows import Layout


def gradient_of(start_P: Tensor, sent_P: Tensor, lr: float) -> Tensor:
    """The gradient ``[P]`` of a device's only step, from its parameters before it and the message
    after it: (start − sent) / lr."""
    return (start_P.double() - sent_P.double()) / lr


def exact_input(weight_HD: Tensor, bias_H: Tensor) -> Tensor:
    """The input ``[D]`` of a fully connected layer with a bias, from the gradients of its weights
    and bias in a step on one sample.

    The gradient of row h of the weights is δ_h · x and that of its bias δ_h, so that their quotient
    is x, exactly (Phong, Aono, Hayashi, Wang & Moriai, *Privacy-preserving deep learning via
    additively homomorphic encryption*, 2018). The row with the largest δ_h is taken. Of several
    samples it is a mean of them, weighted by their δ_h. All is NaN where every δ_h is 0.
    """
    row = int(bias_H.abs().argmax())
    return weight_HD[row] / bias_H[row]


@dataclass(frozen=True)
class Inversion:
    """The search for inputs whose gradient points where the observed one does:

        min over x of  1 − cos(∇L(x, y), g) + smooth · TV(x)

    by Adam on the sign of the gradient, x within [0, 1] (Geiping, Bauermeister, Dröge & Moeller,
    *Inverting gradients: how easy is it to break privacy in federated learning?*, NeurIPS 2020,
    arXiv 2003.14053). TV is the total variation. The labels y are known to the attacker, as they
    often can be read from the gradient of the last layer (Zhao, Mopuri & Bilen 2020).

    Attributes:
        steps: The number of steps of a try.
        rate: The first step size; it falls to a tenth after 3/8, 5/8 and 7/8 of the steps.
        smooth: The weight of the total variation.
        tries: How many first guesses are tried; the one with the least objective is the result.
        seed: What the first guesses are drawn from.
    """

    steps: int = 600
    rate: float = 0.1
    smooth: float = 1e-3
    tries: int = 1
    seed: int = 0

    def __call__(
        self,
        module: nn.Module,
        layout: Layout,
        row_P: Tensor,
        gradient_P: Tensor,
        y_b: Tensor,
        image: tuple[int, ...],
        features: tuple[int, ...],
    ) -> Tensor:
        """The samples ``[b, *image]`` that a step of a ``module`` with the parameters ``row_P`` may
        have been taken on; ``features`` is the shape in which the module takes a sample, and
        ``image`` ends with height and width."""
        wanted_P = functional.normalize(gradient_P.double(), dim=0)
        leaf_P = row_P.double().detach().requires_grad_()
        state = {s.name: leaf_P[s.start : s.stop].view(s.shape) for s in layout.slots}
        module = module.double()
        found = [
            self._found(module, state, leaf_P, wanted_P, y_b, image, features, number)
            for number in range(self.tries)
        ]
        return min(found, key=lambda pair: pair[0])[1]

    def _found(
        self,
        module: nn.Module,
        state: Mapping[str, Tensor],
        leaf_P: Tensor,
        wanted_P: Tensor,
        y_b: Tensor,
        image: tuple[int, ...],
        features: tuple[int, ...],
        number: int,
    ) -> tuple[float, Tensor]:
        """The objective at the end of one try, and its images."""
        count = len(y_b) * int(np.prod(image))
        first = Keys(self.seed, "inversion").uniform(0, number, count)
        x = torch.as_tensor(first).view(len(y_b), *image).requires_grad_()
        optimizer = torch.optim.Adam([x], self.rate)
        falls = [self.steps * part // 8 for part in (3, 5, 7)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls)
        objective = torch.tensor(torch.inf)
        for _ in range(self.steps):
            out = functional_call(module, dict(state), (x.view(len(y_b), *features),))
            loss = functional.cross_entropy(out, y_b)
            (own_P,) = torch.autograd.grad(loss, leaf_P, create_graph=True)
            likeness = functional.normalize(own_P, dim=0) @ wanted_P
            objective = 1 - likeness + self.smooth * _variation(x)
            (down,) = torch.autograd.grad(objective, x)
            x.grad = down.sign()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                x.clamp_(0.0, 1.0)
        return float(objective.detach()), x.detach()


def _variation(x: Tensor) -> Tensor:
    """The total variation of images ``[…, height, width]``, a mean over pixels."""
    return x.diff(dim=-1).abs().mean() + x.diff(dim=-2).abs().mean()


def psnr(true: Tensor, found: Tensor) -> tuple[Tensor, float]:
    """The images ``found`` in the order of the ``true`` ones that they are most like, and the mean
    over images of the peak signal-to-noise ratio −10·log₁₀(mean squared error), of grey levels from
    0 to 1. A ratio of 20 dB is an error of a tenth of the range."""
    error_bb = (true.flatten(1)[:, None] - found.flatten(1)[None]).square().mean(2)
    _, order = linear_sum_assignment(error_bb.numpy())
    matched = error_bb[torch.arange(len(true)), torch.as_tensor(order)]
    ratio = -10 * torch.log10(matched.clamp_min(1e-12))
    return found[torch.as_tensor(order)], float(ratio.mean())
