"""Selective activation: a small selector network picks the active neurons for each sample.

The idea is from a talk by RockAI, which gives no equations; the equations here are our own. A
selector, random at first, learns which neurons are active in inference and in learning; there are
no fixed experts. It learns as the gate of a gated linear unit does (Dauphin et al., ICML 2017,
arXiv 1612.08083), a gate that is shut for all but the k highest scores.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.rows import HasNeurons
from swarm.learning.models.base import MOST_WIDTH, CountsFlops, check_layers

Select = Literal["learned", "random", "fixed"]


class Selector(nn.Module):
    """Scores ``[b, units]`` of the units of a layer, s = V (U x + c) + d, where U x has ``rank``
    numbers.
    """

    def __init__(self, width: int, units: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, units)
        # large enough for the scores to depend on the sample from the start
        nn.init.normal_(self.up.weight, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(self.down(x))
        return out


class SelectiveLayer(nn.Module):
    """h = m ⊙ (Wx + b) ⊙ tanh(s − θ), where m is the mask of the k units (groups of ``group``
    neurons) with the highest scores s, and θ the highest score of the other units (0 if there are
    none).

    The gate of a unit goes to zero before another unit replaces it, so the layer is continuous and
    its gradient exact, without an estimator. Inactive neurons get no gradient. In the selector, the
    best of the other units gets one through θ. If units are drawn at random or fixed, m does not
    depend on s, and θ is 0.
    """

    def __init__(
        self, width: int, hidden: int, kept: int, select: Select, group: int, rank: int
    ) -> None:
        super().__init__()
        self.units, self.kept, self.group, self.select = hidden // group, kept, group, select
        self.linear = nn.Linear(width, hidden)
        self.selector = Selector(width, self.units, rank)

    def forward(self, x: Tensor, key_b: Tensor) -> Tensor:
        """Return the outputs ``[b, hidden]``; masks drawn at random depend on the samples' keys
        ``key_b``.
        """
        score_bU: Tensor = self.selector(x)
        at_bk, threshold_b1 = self.picked(score_bU, key_b)
        gate_bk = torch.tanh(score_bU.gather(1, at_bk) - threshold_b1)
        gate_bU = torch.zeros_like(score_bU).scatter(1, at_bk, gate_bk)
        out: Tensor = self.linear(x) * gate_bU.repeat_interleave(self.group, 1)
        return out

    def picked(self, score_bU: Tensor, key_b: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of the k active units, ``[b, k]``, and θ, ``[b, 1]``."""
        nothing_b1 = torch.zeros_like(score_bU[:, :1])
        if self.select == "random":
            return hashed(key_b, self.units).topk(self.kept, 1).indices, nothing_b1
        if self.select == "fixed":
            return torch.arange(self.kept, device=key_b.device).expand(len(key_b), -1), nothing_b1
        best = score_bU.topk(min(self.kept + 1, self.units), 1)
        return best.indices[:, : self.kept], best.values[
            :, self.kept :
        ] if self.kept < self.units else nothing_b1


class Selective(nn.Module, HasNeurons, CountsFlops):
    """A multi-layer perceptron in whose hidden layers only a fraction ``active`` of the neurons is
    active: k = max(1, round( ``active`` · units)) of a layer's units, chosen for each sample.

    ``select`` says how they are chosen: ``learned`` by the selectors; ``random`` by a hash of the
    sample, so that a sample always has the same units; ``fixed`` always takes the first k, which is
    a dense gated model of width k. The last two are controls: their selectors scale a unit's output
    but do not choose it. A unit is a ``group`` of neurons, and ``rank`` the width of a selector.

    Raises :class:`ConfigError` for no hidden layer, an active fraction outside (0, 1], a group that
    does not divide a width, and a rank below 1.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        outputs: int,
        hidden: list[int],
        active: float = 0.25,
        select: Select = "learned",
        group: int = 1,
        rank: int = 8,
    ) -> None:
        super().__init__()
        _check(hidden, active, group, rank)
        self.widths, self.active, self.rank = [math.prod(features), *hidden], active, rank
        self.layers = nn.ModuleList(
            SelectiveLayer(n, h, max(1, round(active * (h // group))), select, group, rank)
            for n, h in pairwise(self.widths)
        )
        self.head = nn.Linear(hidden[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        key_b = sample_key(h)
        for number, layer in enumerate(self.layers):
            h = layer(h, key_b + number)
        out: Tensor = self.head(h)
        return out

    @torch.no_grad()
    def masks(self, x: Tensor) -> list[Tensor]:
        """Return the active units of each hidden layer, ``[b, units]`` of zeros and ones."""
        found, h = [], x.flatten(1)
        key_b = sample_key(h)
        for number, layer in enumerate(self._layers()):
            score_bU = layer.selector(h)
            found.append(
                torch.zeros_like(score_bU).scatter(
                    1, layer.picked(score_bU, key_b + number)[0], 1.0
                )
            )
            h = layer(h, key_b + number)
        return found

    def neurons(self) -> list[dict[str, int]]:
        found, own = [], ("linear.weight", "linear.bias", "selector.up.weight", "selector.up.bias")
        for i in range(len(self.layers)):
            axes = {f"layers.{i}.{name}": 0 for name in own}
            last = i + 1 == len(self.layers)
            out = (
                ["head.weight"]
                if last
                else [f"layers.{i + 1}.{name}.weight" for name in ("linear", "selector.down")]
            )
            found.append({**axes, **dict.fromkeys(out, 1)})
        return found

    def step_flops(self, samples: int) -> float:
        """Return the FLOP of a step, which computes with active neurons only.

        They are those of the forward pass, of the weights' gradients, and of the inputs' gradients
        except in the first layer. A learned selector scores all units, and has gradients for the
        active ones and the best of the others; a fixed or random one scores the active units only.
        """
        total, before = 0, self.widths[0]
        for number, layer in enumerate(self._layers()):
            learned, products = layer.select == "learned", 2 if number == 0 else 3
            scored = layer.units if learned else layer.kept
            felt = min(layer.kept + 1, layer.units) if learned else layer.kept
            active = layer.kept * layer.group
            total += products * before * (active + self.rank) + self.rank * (scored + 2 * felt)
            before = active
        return 2.0 * samples * (total + 3 * before * self.head.out_features)

    def prediction_flops(self, samples: int) -> float:
        """Return the FLOP of a forward pass; a learned selector scores all units, others the active
        ones.
        """
        total, before = 0, self.widths[0]
        for layer in self._layers():
            scored = layer.units if layer.select == "learned" else layer.kept
            active = layer.kept * layer.group
            total += before * (active + self.rank) + self.rank * scored
            before = active
        return 2.0 * samples * (total + before * self.head.out_features)

    def _layers(self) -> list[SelectiveLayer]:
        return [layer for layer in self.layers if isinstance(layer, SelectiveLayer)]


def sample_key(x_bD: Tensor) -> Tensor:
    """Return a key ``[b]`` for each sample, a whole number that depends on every number of the
    sample (to 2⁻¹⁶) and on nothing else.

    Sums of integers are exact, so a sample has the same key in any batch.
    """
    step = torch.arange(1, x_bD.shape[1] + 1, device=x_bD.device) * GOLDEN
    return mixed((x_bD.detach() * 65536).round().long() * (step | 1)).sum(1)


def hashed(key_b: Tensor, units: int) -> Tensor:
    """Return ``[b, units]`` pseudo-random whole numbers, a function of the keys."""
    return mixed(mixed(key_b)[:, None] + torch.arange(units, device=key_b.device) * GOLDEN)


def mixed(x: Tensor) -> Tensor:
    """Apply the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) to 64-bit integers, which
    wrap around.
    """
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shift 64-bit integers to the right by ``by`` bits, filling with zeros from the left."""
    return (x >> by) & ((1 << (64 - by)) - 1)


GOLDEN = -0x61C8864680B583EB  # 2⁶⁴ / φ, as a signed number


def _check(hidden: list[int], active: float, group: int, rank: int) -> None:
    check_layers("hidden", hidden, "widths (selection is among hidden neurons)", least=1)
    if not 0 < active <= 1:
        raise ConfigError(
            "active",
            active,
            "must be above 0 and at most 1: the share of the neurons that takes part",
        )
    if group < 1 or any(width % group for width in hidden):
        raise ConfigError(
            "group", group, f"must be a number ≥ 1 that divides every width of hidden={hidden}"
        )
    if not 1 <= rank <= MOST_WIDTH:
        raise ConfigError(
            "rank", rank, f"must be the width of a selector, from 1 to {MOST_WIDTH:,}"
        )
