"""Models that come along and modules of a user's own: the same bits however they are sharded or
interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.common.rows import frozen_parameters
from swarm.config.build import option
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.models.cnn import CNN
from swarm.learning.models.lenet import LeNet
from tests.support import config, plain_gradient, require_same_bits, row_of, run

PLUGIN = Path(__file__).with_name("user_models.py")
BUNDLED: dict[str, dict[str, Any]] = {
    "softmax": option("model", "softmax"),
    "mlp": {**option("model", "mlp"), "hidden": [9, 5], "activation": "tanh"},
    "mlp of gelu": {**option("model", "mlp"), "hidden": [9], "activation": "gelu"},
    "selective": {**option("model", "selective"), "hidden": [12, 8], "group": 2},
    "selective at random": {**option("model", "selective"), "hidden": [9], "select": "random"},
    "cnn": {**option("model", "cnn"), "channels": [3, 4]},
    "lenet": {**option("model", "lenet"), "channels": [4], "hidden": [6], "groups": [2]},
}
OWN = {
    name: {"_target_": f"user_models.{name}"}
    for name in (
        "NormMLP",
        "Adapted",
        "Attention",
        "Scaled",
        "FusedGRU",
        "FusedLSTM",
        "CellGRU",
        "Outside",
    )
}
MODELS = BUNDLED | OWN
COMMON = ("devices=9", "rounds=3", "engine.block=2", f"plugins=[{PLUGIN}]", "optimizer=momentum", "optimizer.lr=0.02",
          "partition=iid", "checkpoint.keep=9")  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


@pytest.mark.parametrize("name", MODELS)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, name: str) -> None:
    require_same_bits(tmp_path, *COMMON, rounds=3, cut=1, model=MODELS[name])


def test_a_model_of_the_users_own_may_choose_its_learning_rate(tmp_path: Path) -> None:
    """It is tried before the start, when there is no rate yet."""
    words = (
        *COMMON,
        "optimizer.lr=auto",
        "lr_search.lrs=[0.01,0.1]",
        "lr_search.rounds=1",
        "scenario.arms=[swarm]",
    )
    assert run(tmp_path / "run", *words, model=OWN["NormMLP"])["arms"]["swarm"]["lr"] in (0.01, 0.1)


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_a_step_of_plain_torch(name: str, block: int) -> None:
    """One local step of each device in float64 against autograd on the module itself, alone and in
    a block.
    """
    values = config(
        "devices=3", "rounds=1", "protocol=none", "topology=none", "train.local_steps=1", "train.batch=5", "optimizer.lr=0.5",
        "compute.dtype=float64", "init=independent", f"engine.block={block}",
        f"plugins=[{PLUGIN}]",
    )  # fmt: skip
    ready = PreparedRun.prepare(Settings.parse({**values, "model": MODELS[name]}))
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    engine = ready.engine
    engine.start(e)
    for _ in engine.advance(1):
        pass
    found = engine.snapshot()["x"]
    draw = e.data.stream.draw(np.arange(3), np.zeros(3, np.int64), 1).sample_BKb[:, 0]
    for device, ids in enumerate(draw):
        x, y = torch.as_tensor(ready.dataset.x[ids]).double(), torch.as_tensor(ready.dataset.y[ids])
        module = e.model.module(device)
        for key, base in frozen_parameters(e.model.module()).items():  # one for all devices
            frozen_parameters(module)[key].copy_(base)
        start = row_of(module)
        expected = start - 0.5 * plain_gradient(start, module, x, y, "cross_entropy")
        torch.testing.assert_close(found[device], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("block", [1, 2])
def test_a_sparse_gradient_gives_the_bits_of_a_dense_one(tmp_path: Path, block: int) -> None:
    found = [
        run(
            tmp_path / f"{sparse}",
            *(
                *COMMON,
                "devices=4",
                "topology=ring",
                "rounds=2",
                f"engine.block={block}",
                "scenario.arms=[swarm]",
            ),
            model={"_target_": "user_models.Sparse", "sparse": sparse},
        )["arms"]["swarm"]
        for sparse in (True, False)
    ]
    assert found[0]["params_sha256"] == found[1]["params_sha256"]


REFUSED = {
    "WithBatchNormOfTheBatch": ({}, "LayerNorm"),
    "WithNoise": ({}, "noise"),
    "WithNumpyNoise": ({}, "noise|call"),
    "WithACounter": ({}, "noise|call"),
    "Frozen": ({}, "no parameters to learn; all are frozen"),
    "WithAComplexBuffer": ({}, "has the buffer turn of complex numbers, and a run's are real"),
    "WithAComplexParameter": ({}, "has the parameter phase of complex numbers"),
    "WithAWholeNumber": ({}, "has the parameter count of type int64"),
    "WithoutParameters": ({}, "no parameters"),
    "OneOutputTooFew": ({}, r"returns \[2, 9\] for 2 samples; the data needs \[2, 10\]"),
    "ReturnsAPair": ({}, "returns tuple"),
    "Fails": ({}, "needs pictures of cats"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_by_name(name: str) -> None:
    options, reason = REFUSED[name]
    values = {
        **config(f"plugins=[{PLUGIN}]"),
        "model": {"_target_": f"user_models.{name}", **options},
    }
    with pytest.raises(ConfigError, match=reason) as refusal:
        PreparedRun.prepare(Settings.parse(values))
    assert refusal.value.key == "model"
    assert refusal.value.value == f"user_models.{name}"
    assert refusal.value.exit_code == 2


def test_a_state_that_matters_later_is_warned_of() -> None:
    values = {**config(f"plugins=[{PLUGIN}]"), "model": {"_target_": "user_models.CountsForLater"}}
    said = r"^model: user_models.CountsForLater changes its attribute calls whenever it is called"
    with pytest.warns(UserWarning, match=said) as caught:
        PreparedRun.prepare(Settings.parse(values))
    assert not [each for each in caught if "longest" in str(each.message)]


def test_images_that_are_not_square_need_another_model() -> None:
    with pytest.raises(ConfigError, match="has 20 features, which is no square"):
        PreparedRun.prepare(
            Settings.parse(config("model=cnn", "data=gaussian", "data.features=20"))
        )
    with pytest.raises(ConfigError, match=r"has the shape \[1, 2, 2, 4\]"):
        CNN((1, 2, 2, 4), 3, [4])


def test_lenet_is_that_of_the_literature() -> None:
    """Its parameters on 28 × 28 pixels, by hand, and what is normalised."""
    wide = {key: value for key, value in option("model", "lenet").items() if key[0] != "_"}
    made = LeNet((784,), 10, **wide)
    sizes = 6 * 26, 12, 16 * 151, 32, 120 * 257, 84 * 121, 10 * 85
    assert sum(p.numel() for p in made.parameters()) == sum(sizes)
    after_THW = made.body(torch.rand(2, 1, 28, 28)).reshape(2, 4, -1)
    torch.testing.assert_close(after_THW.mean(-1), torch.zeros(2, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(after_THW.var(-1, correction=0), torch.ones(2, 4), rtol=0, atol=1e-2)
    assert not any(isinstance(part, torch.nn.GroupNorm)
                   for part in LeNet((784,), 10, [6, 16], [84], []).modules())  # fmt: skip


@pytest.mark.parametrize(
    ("key", "changed"),
    [("groups", [2, 3]), ("groups", [2]), ("groups", [2, 0]), ("channels", [6, 16, 16])],
)
def test_a_lenet_that_cannot_be_is_refused(key: str, changed: list[int]) -> None:
    options = {"channels": [6, 16], "hidden": [], "groups": [2, 4]} | {key: changed}
    if key == "channels":
        options["groups"] = []
    with pytest.raises(ConfigError) as refusal:
        LeNet((1, 28, 28), 10, **options)
    assert refusal.value.key == key
