"""Generated text: each device draws it from its own Markov chain, a blend of a common chain and one
that only this device has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swarm.common.ranges import number, room
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, Source
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import while_generated


@dataclass(eq=False)
class Markov(Source):
    """Sequences of ``context`` tokens, and for each position the token that follows.

    Device i draws from the chain (1 − h)·A + h·B_i over ``tokens`` tokens, h = ``heterogeneity``.
    The rows of A and B_i are drawn from Dirichlet(``concentration``): the smaller it is, the more
    predictable the text. A chain's entropy rate is the least expected loss.
    """

    devices: int
    tokens: int = 20
    context: int = 32
    heterogeneity: float = 0.3
    concentration: float = 0.1
    per_device: int = 40
    test: float = 0.2
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        number("tokens", self.tokens, 2, 1e4)
        number("context", self.context, 1, 1e5)
        number("heterogeneity", self.heterogeneity, 0, 1)
        number("concentration", self.concentration, 0, 1e3, open_low=True)
        number("per_device", self.per_device, 4)
        room(
            "per_device", self.per_device, self.devices * self.per_device, self.context + 1, each=8
        )
        room(
            "tokens",
            self.tokens,
            self.tokens,
            self.tokens,
            each=8,
            what=("rows of a chain", "chances"),
        )

    def load(self) -> Dataset:
        alpha = np.full(self.tokens, self.concentration)
        common = Keys(self.seed, "markov/common").generator().dirichlet(alpha, self.tokens)
        text = np.empty((self.devices, self.per_device, self.context + 1), np.int64)
        for device in range(self.devices):
            draw = Keys(self.seed, "markov/device").generator(device)
            chain = (1 - self.heterogeneity) * common + self.heterogeneity * draw.dirichlet(
                alpha, self.tokens
            )
            below = np.cumsum(chain, 1)
            below[:, -1] = 1.0  # exactly, whatever the rounding of the sum
            text[device, :, 0] = draw.integers(self.tokens, size=self.per_device)
            for t in range(self.context):
                chance = draw.random(self.per_device)
                text[device, :, t + 1] = (below[text[device, :, t]] < chance[:, None]).sum(1)
        flat = text.reshape(-1, self.context + 1)
        owner = np.repeat(np.arange(self.devices), self.per_device)
        samples = Samples(flat[:, :-1], flat[:, 1:], self.tokens, owner=owner)
        return prepare(samples, self.seed, test=self.test, validation=self.validation)

    def loading(self) -> int:
        samples = self.devices * self.per_device
        numbers = samples * (self.context + 1)
        return while_generated(samples, numbers, each=8 + 8)  # the text, and its next tokens
