"""A metric of your own: how often the right class is among a device's `k` likeliest.

    python examples/own_metric.py [FOLDER]

A block of B devices is evaluated together, on chunks of b test samples with C outputs each.
"""

import sys
from tempfile import mkdtemp

import torch

import swarm
from swarm.simulation.metrics.base import OutputMetric


class TopK(OutputMetric):
    """The share of the test samples whose class is among the ``k`` largest outputs."""

    name, label, better, target_kind = "top_k", "top-k accuracy", "higher", "classes"

    def __init__(self, k: int = 2) -> None:
        self.k = k

    def state(self, devices: int, outputs: int, samples: int) -> torch.Tensor:
        return torch.zeros(devices, dtype=torch.float64)

    def add(self, state_B: torch.Tensor, out_BCb: torch.Tensor, y_b: torch.Tensor, at: int) -> None:
        state_B += (out_BCb.topk(self.k, dim=1).indices == y_b).any(1).sum(1)

    def value(self, state_B: torch.Tensor, y_T: torch.Tensor) -> torch.Tensor:
        return state_B / len(y_T)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else mkdtemp()
    small = ["devices=20", "rounds=20", "optimizer.lr=0.3", "tracker=none", "scenario.arms=[swarm]"]
    own = [f"plugins=[{__file__}]", "metrics=[standard,{_target_: own_metric.TopK, k: 2}]"]
    arm = swarm.run(swarm.compose([*small, *own]), f"{folder}/run").summary["arms"]["swarm"]
    print(f"top-1 {arm['accuracy_mean']:.3f}, top-2 {arm['top_k_mean']:.3f}")
