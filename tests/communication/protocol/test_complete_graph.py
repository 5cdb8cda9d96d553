"""D-PSGD on the complete graph, train then average, *is* centralised mini-batch SGD (Lian et al.,
arXiv 1705.09056).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment
from tests.support import plain_gradient, prepared, row_of, trajectory

ROUNDS = 20
COMMON = (
    "devices=8", f"rounds={ROUNDS}", "topology=complete", "data=gaussian", "data.classes=4", "data.features=6",
    "data.per_device=20", "partition=iid", "compute.dtype=float64", "train.local_steps=1", "train.batch=4",
    "model.hidden=[9]", "optimizer.lr=0.3", "init=common",
)  # fmt: skip


def _centralised(ready: PreparedRun) -> np.ndarray:
    """Plain autograd on the union of the devices' batches: ``[rounds + 1, P]``."""
    e: Experiment = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    data = ready.dataset
    module = e.model.module()
    row = row_of(module)
    found = [row.numpy().copy()]
    devices = np.arange(e.settings.devices)
    for step in range(ROUNDS):
        ids = e.data.stream.draw(devices, np.full(len(devices), step), 1).sample_BKb.reshape(-1)
        x, y = torch.as_tensor(data.x[ids]).double(), torch.as_tensor(data.y[ids])
        row = row - 0.3 * plain_gradient(row, module, x, y, "cross_entropy")
        found.append(row.numpy().copy())
    return np.stack(found)


@pytest.mark.parametrize("model", ["softmax", "mlp"])
@pytest.mark.parametrize("optimizer", ["sgd"])
def test_train_then_average_is_centralised_sgd(model: str, optimizer: str) -> None:
    common = [o for o in COMMON if not o.startswith("model.")] if model == "softmax" else COMMON
    ready = prepared(*common, f"model={model}", "protocol=dpsgd")
    assert len(set(np.diff(ready.split.ptr_N1))) == 1, "equal shards"
    x_TNP, central_TP = trajectory(ready), _centralised(ready)
    assert np.abs(central_TP[-1] - central_TP[0]).max() > 0.05, "something was learnt"
    assert np.abs(x_TNP - central_TP[:, None]).max() < 4e-15


def test_the_published_order_is_not_centralised_sgd() -> None:
    """WX − γG(X) takes gradients at rows that were not averaged: the first mean agrees, the later
    ones do not.
    """
    ready = prepared(*COMMON, "model=mlp", "protocol=dpsgd_published")
    mean_TP, central_TP = trajectory(ready).mean(1), _centralised(ready)
    assert np.abs(mean_TP[1] - central_TP[1]).max() < 4e-15
    assert np.abs(mean_TP[2:] - central_TP[2:]).max(1).min() > 1e-6


def test_federated_averaging_of_one_step_is_centralised_sgd_too() -> None:
    ready = prepared(*COMMON, "model=mlp", "protocol=fedavg", "topology=none")
    assert np.abs(trajectory(ready) - _centralised(ready)[:, None]).max() < 4e-15
