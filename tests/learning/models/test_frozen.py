"""Modules with frozen parameters: these are held once, are neither sent nor changed, and are saved
beside the run."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import swarm
from swarm.common.errors import ConfigError
from swarm.common.rows import Layout, frozen_parameters
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from tests.learning.models.user_models import Adapted
from tests.support import config, logged, run

PLUGIN = f"plugins=[{Path(__file__).with_name('user_models.py')}]"
ADAPTED: dict[str, Any] = {"_target_": "user_models.Adapted"}
LEARNING = 2 * 64 + 12 * 2 + 12 * 10 + 10


def test_only_what_learns_is_in_a_row_and_in_a_message(tmp_path: Path) -> None:
    run(tmp_path / "run", PLUGIN, "topology=ring", "rounds=2", model=ADAPTED)
    last = logged(tmp_path / "run")[-1]
    assert last["bytes_total"] == 4 * LEARNING * last["messages_total"] > 0
    first, second = (swarm.load(tmp_path / "run").state_dict("swarm", i) for i in (0, 1))
    module = Adapted((64,), 10)
    module.load_state_dict(first)
    assert torch.equal(first["base.weight"], second["base.weight"])
    assert not torch.equal(first["head.weight"], second["head.weight"])
    assert not module.base.weight.requires_grad


def test_all_devices_hold_the_one_base() -> None:
    """1 million frozen numbers and 100 devices: their rows have the 1,930 that learn."""
    wide = {**ADAPTED, "width": 15_000}
    ready = PreparedRun.prepare(
        Settings.parse({**config(PLUGIN, "devices=100", "topology=ring"), "model": wide})
    )
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    assert sum(p.numel() for p in frozen_parameters(e.model.template).values()) == 15_000 * 65
    assert e.model.layout.width == Layout.of(Adapted((64,), 10, 15_000)).width < 200_000
    assert e.learner.kernel.layout is not None  # whose copy of the module shares the base
    gc.collect()
    weights = [
        each
        for each in gc.get_objects()
        if isinstance(each, nn.Parameter) and each.shape == (15_000, 64)
    ]
    assert len({each.data_ptr() for each in weights}) == 1


def test_a_file_brings_its_own_base(tmp_path: Path) -> None:
    """A pretrained base is read with the start, and the run computes with it."""
    module = Adapted((64,), 10)
    with torch.no_grad():
        module.base.weight.fill_(0.25)
    save_file(module.state_dict(), tmp_path / "start.safetensors")
    start = f"init={tmp_path / 'start.safetensors'}"
    run(tmp_path / "run", PLUGIN, start, "rounds=1", model=ADAPTED)
    saved = swarm.load(tmp_path / "run").state_dict("swarm", 0)
    assert (saved["base.weight"] == 0.25).all()
    assert swarm.resume(tmp_path / "run", {"rounds": 2}).summary["arms"]["swarm"]["rounds"] == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (torch.zeros(3, 3), r"holds base.weight of shape \[3, 3\], and the model's is \[12, 64\]"),
        (torch.full((12, 64), torch.nan), "base.weight with values that are no finite"),
    ],
)
def test_a_base_that_does_not_fit_is_refused(tmp_path: Path, wrong: Any, said: str) -> None:
    values = Adapted((64,), 10).state_dict() | {"base.weight": wrong}
    save_file(values, tmp_path / "start.safetensors")
    with pytest.raises(ConfigError, match=said):
        run(tmp_path / "run", PLUGIN, f"init={tmp_path / 'start.safetensors'}", model=ADAPTED)
