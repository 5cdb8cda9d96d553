"""compute.compile=true: the same steps to rounding, and never a compiled step for a batch of
another form.
"""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor

from swarm.common.rows import Layout
from swarm.learning.kernels.kernel import PerDevice
from swarm.learning.kernels.losses import CrossEntropy
from swarm.learning.kernels.module import kernel_for
from swarm.learning.learner import Batch, Learner
from swarm.learning.optim.optimizer import SGD
from swarm.learning.optim.schedule import Constant

FEATURES, CLASSES, SAMPLES, STEPS = 5, 3, 4, 2

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))),
    reason="the compiler of PyTorch needs one for C++",
)


def batch(block: int, first: bool, masked: bool, seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(block, STEPS, SAMPLES, FEATURES, generator=draw)
    y = torch.randint(0, CLASSES, (block, STEPS, SAMPLES), generator=draw)
    new = torch.rand(block, STEPS, SAMPLES, generator=draw) < 0.5
    active = torch.arange(STEPS) < torch.randint(1, STEPS + 1, (block, 1), generator=draw)
    return Batch(
        x, CrossEntropy().encode(y, CLASSES, x.dtype), new if first else None, active if masked else None,
        torch.zeros(block, dtype=torch.int64),
    )  # fmt: skip


def test_a_module_that_runs_device_by_device_is_not_compiled() -> None:
    """As a block of one device does; the compiler stopped at autograd with a traceback."""
    loss, module = CrossEntropy(), nn.Sequential(nn.LayerNorm(FEATURES), nn.Linear(FEATURES, 3))
    kernel = kernel_for(module, loss, torch.zeros(2, FEATURES), 1)
    assert isinstance(kernel, PerDevice)
    learner = Learner(kernel, loss, SGD(0.1, Constant()), CLASSES, None, True)
    one = batch(1, False, False, 0)
    rows = torch.zeros(1, kernel.layout.width)
    expected, _ = learner.uncompiled().train(rows, {}, one, 0.1)
    assert torch.equal(learner.train(rows, {}, one, 0.1)[0], expected)


def test_compiled_steps_are_the_same_steps_whatever_the_batch_brings() -> None:
    """Forms come in an order in which each could be mistaken for the one compiled before it:
    optional tensors appear and disappear, the block shrinks, the rate changes."""
    loss = CrossEntropy()
    module = nn.Sequential(nn.Linear(FEATURES, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    kernel = kernel_for(module, loss, torch.zeros(2, FEATURES), 3)
    plain, compiled = (
        Learner(kernel, loss, SGD(0.1, Constant()), CLASSES, None, c) for c in (False, True)
    )
    forms = [
        (3, False, False, 0.1),
        (3, True, False, 0.1),
        (2, False, True, 0.05),
    ]
    # the compiler need not be tried on vector instructions first, which takes longer than two forms
    with torch.inference_mode(), inductor.patch({"cpp.vec_isa_ok": True}):
        for seed, (block, first, masked, lr) in enumerate([*forms, *forms[::-1]]):
            width = Layout.of(module).width
            x_BP = 0.3 * torch.randn(block, width, generator=torch.Generator().manual_seed(seed))
            given = batch(block, first, masked, seed)
            (expected_BP, expected), (found_BP, found) = (
                way.train(x_BP, {}, given, lr) for way in (plain, compiled)
            )
            torch.testing.assert_close(found_BP, expected_BP, rtol=1e-5, atol=1e-6)
            assert (found.scored_B is not None) == first
            for name in ("loss_B", "scored_B", "score_B"):
                one, other = getattr(found, name), getattr(expected, name)
                assert one is other is None or torch.allclose(one, other, rtol=1e-5, atol=1e-6)
