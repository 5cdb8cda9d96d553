"""compute.kernels=numba: the same steps as torch's to rounding, the same bits wherever a device is,
and a refusal of whatever the loops cannot learn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from swarm.common.errors import ConfigError
from swarm.common.rows import Layout
from swarm.common.system.dataset_cache import cache_folder
from swarm.config.settings import Settings
from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.losses import CrossEntropy, Loss, PartialLabelLoss, Weighted
from swarm.learning.learner import Batch, Learner
from swarm.learning.numba_steps import learner as chosen
from swarm.learning.numba_steps.learner import NumbaLearner
from swarm.results.provenance import identity
from swarm.simulation.footprint import NUMBA as NUMBA_BYTES
from swarm.simulation.footprint import footprint
from tests.support import (
    config,
    experiment,
    final_rows,
    plain_gradient,
    prepared,
    records,
    require_same_bits,
    sgd,
)

numba = pytest.importorskip("numba", reason="the extra `fast` is not installed")
NUMBA = "compute.kernels=numba"
FEATURES, CLASSES, STEPS, BLOCK = 6, 3, 3, 4


def chain(*hidden: int) -> nn.Sequential:
    torch.manual_seed(sum(hidden))
    sizes, parts = [FEATURES, *hidden, CLASSES], list[nn.Module]()
    for below, above in pairwise(sizes):
        parts += [nn.Linear(below, above), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def both(module: nn.Module, loss: Loss, layout: Layout | None = None) -> tuple[Learner, Learner]:
    """Torch's learner and numba's."""
    kernel = Dense.match(module, loss, layout)
    assert kernel is not None
    return Learner(kernel, loss, sgd(), CLASSES, None, False), NumbaLearner(
        kernel, loss, sgd(), CLASSES
    )


def batch(samples: int, dtype: torch.dtype, loss: Loss, **more: Any) -> Batch:
    draw = torch.Generator().manual_seed(samples)
    x = torch.randn(BLOCK, STEPS, samples, 2, FEATURES // 2, generator=draw).to(dtype)
    y = torch.randint(0, CLASSES, (BLOCK, STEPS, samples), generator=draw)
    new = torch.rand(BLOCK, STEPS, samples, generator=draw) < 0.5
    done = torch.zeros(BLOCK, dtype=torch.int64)
    return Batch(x, loss.encode(y, CLASSES, dtype), new, None, done, **more)


def start(layout: Layout, dtype: torch.dtype) -> torch.Tensor:
    draw = torch.Generator().manual_seed(5)
    return (0.5 * torch.randn(BLOCK, layout.width, generator=draw)).to(dtype)


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("hidden", [(), (8,), (7, 5), (4, 9, 3)], ids=str)
def test_the_steps_are_those_of_torch(
    hidden: tuple[int, ...], dtype: torch.dtype, apart: float
) -> None:
    """Whatever the sizes, which are cut into fours and eights, and whatever the batch brings."""
    loss = CrossEntropy()
    torchs, numbas = both(chain(*hidden), loss)
    x_BP = start(torchs.kernel.layout, dtype)
    before_BP = x_BP.clone()
    taken = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]]).bool()
    for samples in (1, 3, 4, 8, 13, 32):
        plain = batch(samples, dtype, loss)
        weight = torch.rand(BLOCK, samples, dtype=dtype).softmax(1)
        rate_B11 = torch.rand(BLOCK, 1, 1, dtype=dtype)
        for given, lr in (
            (plain, 0.3),
            (replace(plain, active=taken, first=None), 0.3),
            (replace(plain, weight=weight, active=taken), rate_B11),
        ):
            expected_BP, expected = torchs.train(x_BP, {}, given, lr)
            found_BP, found = numbas.train(x_BP, {}, given, lr)
            torch.testing.assert_close(found_BP, expected_BP, rtol=0, atol=apart)
            if given.active is not None:
                assert torch.equal(found_BP[2], before_BP[2])
            for name in ("loss_B", "scored_B", "score_B"):
                one, other = getattr(found, name), getattr(expected, name)
                assert one is other is None or torch.allclose(one, other, rtol=0, atol=9 * apart)
    assert torch.equal(x_BP, before_BP)


def test_a_step_is_autograds_gradient() -> None:
    module, loss = chain(7, 5), CrossEntropy()
    _, numbas = both(module, loss)
    x_BP, one = start(numbas.kernel.layout, torch.float64), batch(5, torch.float64, loss).step(0)
    learnt_BP, _ = numbas.train(x_BP, {}, one, 1.0)
    for i in range(BLOCK):
        inputs, y = one.x[i, 0].flatten(1), one.target[i, 0].argmax(0)
        expected = plain_gradient(x_BP[i], module.double(), inputs, y, "cross_entropy")
        torch.testing.assert_close(x_BP[i] - learnt_BP[i], expected, rtol=0, atol=1e-14)


def test_samples_without_a_label_and_weights_of_classes_count_as_in_torch() -> None:
    loss = Weighted(PartialLabelLoss(), torch.tensor([0.5, 2.0, 1.0]))
    torchs, numbas = both(chain(8), loss)
    given = batch(8, torch.float32, loss)
    given.target[:, :, :, ::3] = 0
    x_BP = start(torchs.kernel.layout, torch.float32)
    expected, found = (one.train(x_BP, {}, given, 0.3)[0] for one in (torchs, numbas))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_parameters_may_lie_in_another_order() -> None:
    """As those that devices keep for themselves, which come last in a row."""
    module, loss = chain(8), CrossEntropy()
    torchs, numbas = both(module, loss, Layout.of(module, local=("0.weight", "2.bias")))
    x_BP, given = start(torchs.kernel.layout, torch.float32), batch(8, torch.float32, loss)
    expected, found = (one.train(x_BP, {}, given, 0.3)[0] for one in (torchs, numbas))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_arrays_of_another_size_are_an_error_and_no_memory_is_touched() -> None:
    _, numbas = both(chain(8), CrossEntropy())
    given, x_BP = (
        batch(8, torch.float32, CrossEntropy()),
        start(numbas.kernel.layout, torch.float32),
    )
    wrong = [
        (x_BP[:, :-1], given),
        (x_BP[:2], given),
        (x_BP, replace(given, x=given.x[..., :-1])),
        (x_BP, replace(given, x=given.x[:, :, :-1])),
        (x_BP, replace(given, target=given.target[:, :, :-1])),
    ]
    for rows_BP, each in wrong:
        with pytest.raises(ValueError, match="do not fit the network"):
            numbas.train(rows_BP, {}, each, 0.3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_not_finite_stays_so(value: float) -> None:
    """A model that diverges is known by its loss."""
    torchs, numbas = both(chain(8), CrossEntropy())
    given, x_BP = (
        batch(8, torch.float32, CrossEntropy()),
        start(torchs.kernel.layout, torch.float32),
    )
    x_BP[1, 3] = value
    (expected_BP, one), (found_BP, other) = (
        each.train(x_BP, {}, given, 0.3) for each in (torchs, numbas)
    )
    assert torch.equal(other.loss_B.isfinite(), one.loss_B.isfinite())
    assert torch.equal(found_BP.isfinite().all(1), expected_BP.isfinite().all(1))


@pytest.mark.parametrize(
    "words",
    [
        ("partition=dirichlet", "train.local_steps=null", "train.local_epochs=1"),
        ("update=online", "replay=reservoir", "clock=poisson", "labels=meetings", "partition=iid", "train.batch=3"),
        ("protocol=fedavg", "protocol.fraction=0.5", "topology=none", "model=softmax", "churn=markov"),
        ("cohorts={small: {devices: 0.4, model: {hidden: [16]}}}", "topology=small_world"),
    ],
    ids=["epochs", "a stream", "a server", "cohorts"],
)  # fmt: skip
def test_a_run_has_the_losses_and_accuracies_of_torch(words: tuple[str, ...]) -> None:
    one, other = (records(prepared(*words, more)) for more in ("compute.kernels=torch", NUMBA))
    assert len(one) == len(other) == 5
    for before, after in zip(one, other, strict=True):
        numbers = {
            k: v for k, v in before.values.items() if isinstance(v, float) and "wall" not in k
        }
        assert numbers
        for name, value in numbers.items():
            assert after.values[name] == pytest.approx(value, abs=1e-4, nan_ok=True), name


@pytest.mark.parametrize(
    "words",
    [("topology=small_world", "churn=markov"), ("topology=ring", "clock=poisson", "train.batch=5")],
    ids=["churn", "a clock"],
)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    require_same_bits(tmp_path, NUMBA, "devices=11", "engine.block=2", *words, rounds=4, cut=2)


def test_a_device_learns_the_same_bits_in_any_block() -> None:
    found = [
        final_rows(prepared(NUMBA, "protocol=none", "topology=none", f"engine.block={block}"))
        for block in (1, 5, 12)
    ]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


REFUSED = {
    "train.clip_norm=1": "train.clip_norm=1: must be null with",
    "compute.compile=true": "compute.compile=true: must be false with",
    "optimizer=momentum": "optimizer=momentum: must be sgd without momentum",
    "optimizer=adam": "optimizer=adam: must be sgd without momentum",
    "optimizer.weight_decay=0.1": "optimizer=sgd: must be sgd without momentum and weight decay with",
    "train.loss=focal": "train.loss=focal: must be cross_entropy, on data with classes, with",
    "data=linear_regression partition=natural": "train.loss=mse: must be cross_entropy",
    "model.activation=tanh": "model=mlp: must be linear layers with ReLU between them",
    "model=cnn": "model=cnn: must be linear layers with ReLU between them",
    "privacy=sample_level": "privacy=sample_level: must be none, or one that protects whole",
    "protocol=scaffold topology=none": "protocol=scaffold: must be one that adds nothing to",
    "protocol=fedmd data.public=60": "protocol=fedmd: must be one that exchanges no predictions",
    "personal=ditto": "personal=ditto: must be none with",
    "cohorts={big: {devices: 2, model: {activation: tanh}}}": "in the cohort big",
    "compute.kernels=numbra": "must be one of torch, numba (did you mean numba?)",
}  # fmt: skip


@pytest.mark.parametrize(("words", "sentence"), REFUSED.items())
def test_what_it_cannot_learn_is_refused(words: str, sentence: str) -> None:
    asked = [words] if "{" in words else words.split()
    with pytest.raises(ConfigError) as refused:
        prepared(NUMBA, *asked)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_numba_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"numba: `pip install '\.\[fast\]'`"):
        prepared(NUMBA)
    assert type(experiment().learner) is Learner


def test_code_is_kept_in_the_users_cache_folder() -> None:
    from swarm.learning.numba_steps import loops

    place = Path(numba.config.CACHE_DIR or cache_folder() / "swarm-sim-numba")
    assert place in Path(loops.descend.stats.cache_path).parents  # type: ignore[attr-defined]


def test_runs_of_both_kernels_are_not_taken_for_each_other() -> None:
    torchs, numbas = identity(config()), identity(config(NUMBA))
    assert numbas == torchs | {"compute.kernels": "numba"}
    old = config()
    del old["compute"]["kernels"]
    assert identity(old) == torchs
    assert Settings.parse(old).compute.kernels == "torch"


def test_the_memory_of_numba_is_stated_for_every_process() -> None:
    torchs, numbas = (footprint(experiment(*more)) for more in ((), (NUMBA,)))
    assert numbas.total - torchs.total == numbas.each - torchs.each == NUMBA_BYTES
