"""A protocol of your own: devices that go only a part of the way towards their neighbours.

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
from swarm.config.compose import compose


class Cautious(Protocol):
    """X⁺ = (1 − s) Y + s WY, where Y are the rows after learning; s = 1 is D-PSGD."""

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def receive(self, phase: int, state: State, received: Tensor) -> None:
        state.x = torch.lerp(state.x, received, self.share)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else mkdtemp()
    own = [f"plugins=[{__file__}]", "protocol._target_=own_protocol.Cautious", "report=false"]
    small = ["devices=20", "rounds=20", "optimizer.lr=0.3", "tracker=none", "scenario.arms=[swarm]"]
    for share in (0.1, 0.5, 1.0):
        settings = compose([*small, *own, f"+protocol.share={share}"])
        arm = swarm.run(settings, f"{folder}/share={share}").summary["arms"]["swarm"]
        apart, score = arm["consensus_distance"], arm["accuracy_mean"]
        print(f"share {share}: accuracy {score:.3f}, devices {apart:.2f} apart")
