"""A metric of your own: how often the right digit is among the k that a device finds likeliest.

    python examples/own_metric.py [FOLDER]

It is listed first and can be the `main` score, so the run's page and tables begin with it.
"""

import sys
from tempfile import mkdtemp

import torch
from torch import Tensor

import swarm
from swarm.simulation.metrics.base import OutputMetric


class TopK(OutputMetric):
    better, target_kind, main = "higher", "classes", "score"

    def __init__(self, k: int) -> None:
        self.k, self.name, self.label = k, f"top_{k}", f"top-{k} accuracy"

    def state(self, devices: int, outputs: int, samples: int) -> Tensor:
        return torch.zeros(devices, dtype=torch.float64)

    def add(self, state_B: Tensor, out_BCb: Tensor, y_b: Tensor, at: int) -> None:
        state_B += (out_BCb.topk(self.k, dim=1).indices == y_b).any(1).sum(1)

    def value(self, state_B: Tensor, y_T: Tensor) -> Tensor:
        return state_B / len(y_T)


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else mkdtemp()
    own = [f"plugins=[{__file__}]", "metrics=[{_target_: own_metric.TopK, k: 3}, standard]"]
    small = ["devices=20", "rounds=20", "optimizer.lr=0.3", "tracker=none", "scenario.arms=[swarm]"]
    final = swarm.run(swarm.compose([*own, *small]), f"{folder}/run").summary["arms"]["swarm"]
    print(f"top 3: {final['top_3_mean']:.3f}, the first alone: {final['accuracy_mean']:.3f}")
