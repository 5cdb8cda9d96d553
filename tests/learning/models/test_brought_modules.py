"""Modules that torch's own tools have changed learn, and take back what was saved."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import swarm
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
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


@pytest.mark.parametrize(
    ("end", "words", "said"),
    [
        ("Softmax", (), "leave out the softmax at its end"),
        ("Softmax", ("train.class_weights=balanced",), "leave out the softmax"),
        ("Sigmoid", (), "leave out the sigmoid at its end"),
        ("LogSoftmax", (), None),
        ("Identity", (), None),
        ("ReLU", (), None),
        ("Softplus", (), None),
        ("Softmax", ("train.loss=focal",), None),  # a loss of one's own may take probabilities
        ("Softmax", ("data=linear_regression",), None),
    ],
)
def test_probabilities_under_cross_entropy_are_warned_of(
    end: str, words: tuple[str, ...], said: str | None
) -> None:
    settings = config("devices=4", "topology=ring", "rounds=1", "partition=iid", *words)
    model = {"_target_": "made_modules.Ending", "end": end}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        PreparedRun.prepare(Settings.parse({**settings, "plugins": [str(PLUGIN)], "model": model}))
    about = [str(each.message) for each in found if "cross-entropy takes" in str(each.message)]
    assert all("model=made_modules.Ending: its outputs are probabilities" in each for each in about)
    assert bool(about) == (said is not None)
    assert all(str(said) in each for each in about)
