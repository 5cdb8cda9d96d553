"""A model of your own: any torch module, here one hidden layer whose units a second layer gates.

    python examples/own_model.py [FOLDER]

The run offers the constructor `features`, the shape of a sample, and `outputs`, the number of
classes. Its other parameters, here `width`, are settings like any other.
"""

import math
import sys
from tempfile import mkdtemp

from torch import Tensor, nn

import swarm


class Gated(nn.Module):
    """Logits W(tanh(Ax) ⊙ sigmoid(Bx)) for a batch of samples [b, *features]."""

    def __init__(self, features: tuple[int, ...], outputs: int, width: int = 32) -> None:
        super().__init__()
        inputs = math.prod(features)
        self.value, self.gate = nn.Linear(inputs, width), nn.Linear(inputs, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(self.value(x).tanh() * self.gate(x).sigmoid())


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else mkdtemp()
    model = [f"plugins=[{__file__}]", "model=custom", "model._target_=own_model.Gated"]
    small = ["devices=20", "rounds=20", "optimizer.lr=0.3", "tracker=none", "scenario.arms=[swarm]"]
    result = swarm.run(swarm.compose([*model, "+model.width=16", *small]), f"{folder}/run")
    print(f"accuracy {result.summary['arms']['swarm']['accuracy_mean']:.3f}")
