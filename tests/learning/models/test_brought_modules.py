"""Modules that torch's own tools have changed learn, and take back what was saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import swarm
from tests.learning.models.made_modules import MAKE, Made
from tests.support import config

PLUGIN = Path(__file__).with_name("made_modules.py")


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("by", MAKE)
def test_a_module_made_by_torchs_tools_learns(tmp_path: Path, by: str) -> None:
    settings = config("devices=4", "topology=ring", "rounds=2", "partition=iid")
    model = {"_target_": "made_modules.Made", "by": by}
    # the check before the start compares its gradients with those of autograd
    swarm.run({**settings, "plugins": [str(PLUGIN)], "model": model}, tmp_path / "run")
    found = swarm.load(tmp_path / "run").state_dict("swarm", 3)
    made = Made((64,), 10, by)
    made.load_state_dict(found)
    if by == "pruned":  # what is cut off stays so
        made(torch.zeros(1, 64))
        layer = made.layers["a"]
        assert isinstance(layer, nn.Linear)
        mask = layer.get_buffer("weight_mask")
        assert mask.mean() == 0.5
        assert (layer.weight[mask == 0] == 0).all()
        assert (layer.weight[mask == 1] != 0).all()
