"""Modules that draw noise while they learn, such as dropout: from keys of the run, so that the bits
depend on nothing else, and never while they predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import swarm
from swarm.common.rows import Layout
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.kernels.losses import loss_for
from swarm.learning.kernels.module import initialised, kernel_for
from swarm.learning.kernels.noise import seeded
from swarm.learning.learner import Batch, Learner
from tests.support import config, require_same_bits, run, sgd, trajectory

PLUGIN = f"plugins=[{Path(__file__).with_name('user_models.py')}]"
DROPOUT: dict[str, Any] = {"_target_": "user_models.WithDropout"}
RESIDUAL: dict[str, Any] = {"_target_": "user_models.Outside", "dropout": 0.3}
RECURRENT: dict[str, Any] = {"_target_": "user_models.DroppedGRU"}
COMMON = (PLUGIN, "devices=9", "engine.block=2", "optimizer.lr=0.1")
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("model", [DROPOUT, RESIDUAL, RECURRENT], ids=lambda m: m["_target_"])
def test_shards_and_resume_do_not_change_a_bit(
    tmp_path: Path, model: dict[str, Any], optimizer: str
) -> None:
    words = (*COMMON, f"optimizer={optimizer}", "partition=iid")
    require_same_bits(tmp_path, *words, rounds=3, cut=1, model=model)


def test_the_state_of_torch_s_generator_does_not_matter() -> None:
    def final() -> Any:
        values = {**config(*COMMON, "rounds=2"), "model": DROPOUT}
        return trajectory(PreparedRun.prepare(Settings.parse(values)))[-1]

    torch.manual_seed(1)
    one, state = final(), torch.get_rng_state()
    torch.manual_seed(2)
    assert np.array_equal(final(), one)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "a run left torch's generator changed"


def test_every_device_and_every_step_drops_others() -> None:
    """A linear layer behind dropout: a weight whose input was dropped has no gradient."""
    module = initialised(lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(400, 2)), 0)
    kernel = kernel_for(module, loss_for("cross_entropy", 2), torch.ones(2, 400), block=3)
    assert kernel.noisy
    layout = Layout.of(module)
    x = layout.views(layout.pack(dict(module.named_parameters())).detach().repeat(3, 1))
    dropped = []
    for step in range(2):
        into = layout.views(torch.zeros(3, layout.width))
        with seeded(step):
            target = torch.tensor([1.0, 0.0]).view(1, 2, 1).repeat(3, 1, 1)
            kernel.gradients(into, x, 1)(torch.ones(3, 1, 400), target, 1.0)
        dropped += list((into["1.weight"] == 0).all(1))
    shares = [float(each.double().mean()) for each in dropped]
    assert all(abs(share - 0.3) < 4 * np.sqrt(0.21 / 400) for share in shares)
    assert not any(torch.equal(a, b) for i, a in enumerate(dropped) for b in dropped[:i])
    again = kernel.outputs(x, torch.ones(3, 1, 400))
    assert torch.equal(again, kernel.outputs(x, torch.ones(3, 1, 400)))


def test_predictions_have_no_noise(tmp_path: Path) -> None:
    """The recorded accuracy is that of the module in evaluation mode, and so is the prequential."""
    summary = run(tmp_path / "run", *COMMON, "rounds=6", "partition=iid", model=DROPOUT)
    loaded = swarm.load(tmp_path / "run")
    _, label_S = loaded.dataset("test", trust=True)
    right = (loaded.predict("swarm", 4, trust=True).argmax(1) == label_S).mean()
    found = loaded.final_devices("swarm")
    assert float(found["accuracy"].iloc[4]) == pytest.approx(float(right), abs=1e-6)
    assert summary["arms"]["swarm"]["accuracy_mean"] > 0.3


def test_two_steps_of_a_batch_drop_others() -> None:
    """Of the weights behind dropout 0.09 = 0.3² are left as they are by two steps, 0.3 by one."""
    module = initialised(lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(4000, 2)), 0)
    loss = loss_for("cross_entropy", 2)
    kernel = kernel_for(module, loss, torch.ones(2, 4000), block=2)
    learner = Learner(kernel, loss, sgd(), 2, None, compiled=False)
    start_BP = kernel.layout.pack(dict(module.named_parameters())).repeat(2, 1)

    def still(steps: int, noise: int) -> torch.Tensor:
        inputs = torch.ones(2, steps, 1, 4000)
        target = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1).repeat(2, steps, 1, 1)
        batch = Batch(inputs, target, None, None, torch.zeros(2, dtype=torch.int64), None, noise)
        learnt_BP, _ = learner.train(start_BP, {}, batch, 1e-4)
        return (learnt_BP == start_BP)[0, :4000]

    one, two = still(1, noise=5), still(2, noise=5)
    assert float(one.double().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(two.double().mean()) == pytest.approx(0.09, abs=0.02)
    assert torch.equal(still(1, noise=5), one)
    assert not torch.equal(still(1, noise=6), one)
