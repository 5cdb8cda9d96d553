"""A protocol of your own: devices that overshoot the mean of what they heard, or stop short of it.

    python examples/own_protocol.py [FOLDER]

A protocol says what a device sends in a round and what it makes of what arrives. The defaults are
those of D-PSGD: learn, send the parameters, and take the weighted mean of what was heard.
"""

import sys
from tempfile import mkdtemp

import torch
from torch import Tensor

import swarm
from swarm.communication.protocol.base import Protocol, State


class Relaxed(Protocol):
    """X⁺ = Y + s (WY − Y), where Y are the rows after learning; s = 1 is D-PSGD."""

    def __init__(self, step: float = 1.0) -> None:
        self.step = step

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x = torch.lerp(state.x, received, self.step)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else mkdtemp()
    small = ["devices=20", "rounds=20", "topology=ring", "optimizer.lr=0.3", "tracker=none"]
    own = [f"plugins=[{__file__}]", "protocol._target_=own_protocol.Relaxed", "report=false"]
    for step in (0.5, 1.0, 1.4):
        settings = swarm.compose([*small, *own, f"+protocol.step={step}", "scenario.arms=[swarm]"])
        arm = swarm.run(settings, f"{folder}/step={step}").summary["arms"]["swarm"]
        apart, score = arm["consensus_distance"], arm["accuracy_mean"]
        print(f"step {step}: accuracy {score:.3f}, devices {apart:.2f} apart")
