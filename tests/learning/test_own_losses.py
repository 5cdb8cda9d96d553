"""Losses of one's own: torch's values and gradients, every kernel, the same bits, and faulty ones
refused in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from swarm.common.errors import ConfigError, SwarmError
from swarm.experiments.checks.check_plugin import check_plugin
from swarm.learning.kernels.batched import BatchedKernel
from swarm.learning.kernels.dense import Dense
from swarm.learning.kernels.kernel import Functional, PerDevice
from swarm.learning.kernels.losses import CrossEntropy, PartialLabelLoss, Weighted
from swarm.learning.losses.focal import Focal
from swarm.learning.losses.huber import Huber
from swarm.learning.losses.label_smoothing import LabelSmoothing
from swarm.learning.losses.own import OwnLoss, own_loss
from tests.learning.user_losses import Plain
from tests.support import experiment, prepared, require_same_bits, run, trajectory

HERE = Path(__file__).parent
LOSSES = f"plugins=[{HERE / 'user_losses.py'}]"
MODELS = f"plugins=[{HERE / 'user_losses.py'},{HERE / 'models' / 'user_models.py'}]"
NUMBERS = ("data=linear_regression", "partition=iid")
WIDE = ("compute.dtype=float64", "devices=6", "rounds=2", "topology=ring")


def own(name: str, **options: float) -> str:
    return f"train.loss={ {'_target_': f'user_losses.{name}', **options} }"


# --- values and gradients -------------------------------------------------------------------------


def _focal(out: Tensor, y: Tensor) -> Tensor:
    p = torch.softmax(out, 1).gather(1, y.unsqueeze(1)).squeeze(1)
    return -((1 - p) ** 3) * p.log()


OF_CLASSES: dict[str, tuple[OwnLoss, Callable[[Tensor, Tensor], Tensor]]] = {
    "focal": (own_loss(Focal(3.0), 4), _focal),
    "focal 0": (
        own_loss(Focal(0.0), 4),
        lambda out, y: functional.cross_entropy(out, y, reduction="none"),
    ),
    "smoothed": (
        own_loss(LabelSmoothing(0.2), 4),
        lambda out, y: (
            -(
                (0.8 * functional.one_hot(y, 4).movedim(-1, 1) + 0.05) * torch.log_softmax(out, 1)
            ).sum(1)
        ),
    ),
}


@pytest.mark.parametrize("name", OF_CLASSES)
def test_losses_of_labels_are_torchs(name: str) -> None:
    loss, reference = OF_CLASSES[name]
    draw = torch.Generator().manual_seed(0)
    out = torch.randn(2, 4, 6, generator=draw, dtype=torch.float64, requires_grad=True)
    y = torch.randint(4, (2, 6), generator=draw)
    target = loss.encode(y, 4, torch.float64)
    expected = reference(out, y)
    torch.testing.assert_close(loss.value(out.detach(), target), expected.detach())
    (slope,) = torch.autograd.grad(expected.sum(), out)
    torch.testing.assert_close(loss.grad_outputs(out.detach(), target), slope)
    into = torch.empty_like(slope)
    assert loss.grad_outputs(out.detach(), target, into) is into
    torch.testing.assert_close(into, slope)
    # one device without the leading axis, as a loop over devices has it
    torch.testing.assert_close(loss.grad_outputs(out[1].detach(), target[1]), slope[1])
    # several devices on the same samples, as an evaluation has them
    shared = loss.encode(y[0], 4, torch.float64)
    torch.testing.assert_close(
        loss.value(out.detach(), shared), reference(out, y[:1].expand(2, 6)).detach()
    )
    weight_C = torch.tensor([1.0, 3.0, 0.5, 0.0], dtype=torch.float64)
    weighted = Weighted(loss, weight_C)
    heavy = weighted.encode(y, 4, torch.float64)
    torch.testing.assert_close(weighted.value(out.detach(), heavy), expected * weight_C[y])
    torch.testing.assert_close(
        weighted.grad_outputs(out.detach(), heavy), slope * weight_C[y].unsqueeze(1)
    )
    plain = CrossEntropy()
    assert torch.equal(loss.score(out, target), plain.score(out, target))


def test_huber_is_torchs_and_scores_stay_squared_errors_in_the_targets_unit() -> None:
    draw = torch.Generator().manual_seed(0)
    out = 2 * torch.randn(2, 3, 6, generator=draw, dtype=torch.float64)
    y = torch.randn(2, 6, 3, generator=draw, dtype=torch.float64)
    unit = torch.tensor([[1.0], [10.0], [0.5]], dtype=torch.float64)
    loss = own_loss(Huber(0.7), 0, unit)
    target, leaf = loss.encode(y, 3, torch.float64), out.clone().requires_grad_()
    expected = functional.huber_loss(leaf.movedim(1, 2), y, reduction="none", delta=0.7).mean(2)
    torch.testing.assert_close(loss.value(out, target), expected.detach())
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(loss.grad_outputs(out, target), slope)
    torch.testing.assert_close(loss.score(out, target), (unit * (out - target)).square().mean(1))


def test_a_sure_answer_has_a_finite_gradient() -> None:
    out = torch.tensor([[[200.0], [0.0]], [[0.0], [200.0]]])
    for gamma in (0.5, 1.0, 2.0):
        loss = own_loss(Focal(gamma), 2)
        target = loss.encode(torch.zeros(2, 1, dtype=torch.int64), 2, torch.float32)
        assert torch.isfinite(loss.grad_outputs(out, target)).all()


# --- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (Dense, ("model=mlp",)),
        (Functional, ("model=custom", "model._target_=user_models.NormMLP", "engine.block=3")),
        (BatchedKernel, ("model=gru", "data=markov", "partition=natural", "train.batch=2")),
        (PerDevice, ("model=custom", "model._target_=user_models.NormMLP", "engine.block=1")),
    ],
)
def test_every_kernel_learns_by_it(kernel: type, words: tuple[str, ...]) -> None:
    """Cross-entropy written anew moves devices as the built-in one does, to rounding."""
    words = (*WIDE, *words, MODELS)
    mine = prepared(*words, own("Plain"))
    assert isinstance(mine.experiment(mine.arms[0], mine.arms[0].first).learner.kernel, kernel)
    np.testing.assert_allclose(trajectory(mine), trajectory(prepared(*words)), rtol=0, atol=1e-12)


def test_numbers_weights_and_observed_labels_go_with_it() -> None:
    for words, name in (
        (NUMBERS, "Squared"),
        (("train.class_weights=balanced",), "Plain"),
        (
            ("update=online", "partition=iid", "train.batch=4", "labels=meetings"),
            "Plain",
        ),
        (("optimizer=adam", "train.clip_norm=0.5"), "Plain"),
    ):
        mine = trajectory(prepared(*WIDE, *words, LOSSES, own(name)))
        np.testing.assert_allclose(mine, trajectory(prepared(*WIDE, *words)), rtol=0, atol=1e-12)


def test_what_is_reported_is_the_loss_itself_without_weights(tmp_path: Path) -> None:
    words = ("train.class_weights=balanced", "rounds=1", "evaluate.local=false")
    e = experiment(*words, "train.loss=focal")
    assert isinstance(e.model.loss, Weighted)
    assert isinstance(e.model.test_loss, OwnLoss)
    found = run(tmp_path / "focal", *words, "train.loss=focal")["arms"]["swarm"]
    plain = run(tmp_path / "plain", *words)["arms"]["swarm"]
    assert 0.5 < found["loss_mean"] / plain["loss_mean"] < 0.95, "(1 − p)² of about 0.8"
    assert "perplexity_mean" not in found


def test_perplexity_is_of_cross_entropy_only() -> None:
    text = ("data=markov", "partition=natural", "model=gru", "train.loss=focal")
    assert "perplexity" not in [m.name for m in experiment(*text).metrics.all]
    with pytest.raises(ConfigError, match=r"metrics=perplexity: needs train.loss=cross_entropy"):
        prepared(*text, "metrics=[{_target_: swarm.simulation.metrics.usual.Perplexity}]")


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    words = ("devices=6", "topology=complete", "engine.block=1", LOSSES, own("Margin", margin=2.0))
    require_same_bits(tmp_path, *words, rounds=3, cut=1)


def test_options_and_functions(tmp_path: Path) -> None:
    half = trajectory(prepared(*WIDE, LOSSES, own("Margin", margin=0.5)))
    made = trajectory(prepared(*WIDE, LOSSES, own("half_a_margin")))
    assert np.array_equal(half, made)
    assert not np.allclose(half, trajectory(prepared(*WIDE, LOSSES, own("Margin"))))
    zero = trajectory(prepared(*WIDE, "train.loss={focal: {gamma: 0.0}}"))
    np.testing.assert_allclose(zero, trajectory(prepared(*WIDE)), rtol=0, atol=1e-12)


def test_check_plugin_takes_a_loss() -> None:
    check_plugin(Plain, "devices=6", "rounds=2", "topology=ring")
    with pytest.raises(ConfigError, match=r"Huber.*does not fit labels|huber.*does not fit labels"):
        check_plugin(Huber)


# --- refusals -------------------------------------------------------------------------------------

FAULTS = {
    "OneNumber": r"returns float32 numbers of shape \[\] .* reduction='none' gives one each",
    "Wide": r"returns float32 numbers of shape \[7, 10\] for outputs \[7, 10\] and targets \[7\]",
    "Nothing": "returns None for outputs",
    "NotFinite": "is not finite for outputs of about 1",
    "SlopeNotFinite": "has a gradient that is not finite",
    "Raises": "fails on outputs .* raises IndexError: index 99",
    "Exits": r"calls sys.exit\(3\)",
    "Cut": "has no gradient: it does not depend on the outputs",
    "OverTheBatch": "gives a sample another loss if other samples are there",
    "Draws": "changes from call to call",
    "InPlace": "changes its targets in place",
    "Unsaid": "target_kind None; it must be 'classes' or 'numbers'",
    "Squared": "is a loss of numeric targets and does not fit labels",
    "FailsLater": r"its values\(\) returns float32 numbers of shape \[3\]; one number for each of",
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_losses_are_refused_by_a_sentence_that_names_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(SwarmError, match=f"train.loss=user_losses.{name}: .*{FAULTS[name]}") as e:
        run(tmp_path / "run", LOSSES, own(name))
    assert not (tmp_path / "run").exists()
    if name != "Squared":
        assert re.search(r"user_losses.py, line \d+\)", str(e.value))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train.loss=huber",), "train.loss=huber: is a loss of numeric targets"),
        ((*NUMBERS, "train.loss=focal"), "train.loss=focal: is a loss of labels and does not fit"),
        (("train.loss={focal: {gamma: -1}}",), "train.loss.gamma=-1: must be at least 0"),
        (("train.loss={focal: {gama: 1}}",), r"train.loss.gama=1: .*did you mean gamma"),
        (("train.loss=[focal]",), r"train.loss=\[focal\]: must be a name \(auto, cross_entropy"),
        (("train.loss={_target_: os.system}",), r"train.loss._target_=os.system: must be in swarm"),
        (
            ("train.loss={_target_: torch.nn.HuberLoss}",),
            r"train.loss._target_=torch.nn.HuberLoss: must be a SampleLoss",
        ),
    ],
)
def test_what_does_not_fit_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*words)


def test_a_loss_that_a_sure_model_breaks_is_warned_of() -> None:
    with pytest.warns(
        UserWarning, match=r"train.loss=user_losses.Naive: is not finite for outputs"
    ):
        prepared(LOSSES, own("Naive"))


def test_an_unlabelled_sample_counts_nothing() -> None:
    loss, built_in = own_loss(Plain(), 3), PartialLabelLoss()
    out = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([[[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(loss.grad_outputs(out, target)[0, :, 1], torch.zeros(3))
    torch.testing.assert_close(loss.grad_outputs(out, target), built_in.grad_outputs(out, target))
