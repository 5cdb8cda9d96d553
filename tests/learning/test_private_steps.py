"""Steps of DP-SGD: each sample's gradient is clipped by itself, and the noise is what is stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from swarm.common.rng import Keys, NormalRows
from swarm.common.rows import BlockParameters
from swarm.learning.kernels.kernel import Kernel, PerDevice
from swarm.learning.kernels.losses import LOSSES
from swarm.learning.kernels.module import kernel_for
from swarm.learning.learner import Batch
from swarm.learning.models.cnn import CNN
from swarm.learning.models.dense import MLP
from swarm.learning.models.gru import GRU
from swarm.learning.optim.optimizer import SGD
from swarm.learning.optim.schedule import Constant
from swarm.learning.privacy import clipped
from swarm.learning.privacy.clipped import clipped_gradients
from swarm.learning.privacy.learner import PrivateLearner
from swarm.learning.privacy.mechanism import SampleLevel
from swarm.learning.privacy.release import released
from tests.support import plain_gradient, row_of

B, b, C = 3, 6, 4


def _fused(features: tuple[int, ...], outputs: int) -> nn.Module:
    """A module that no vmap can batch."""

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.head = nn.GRU(features[1], 5, batch_first=True), nn.Linear(5, outputs)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.gru(x)[0][:, -1])
            return out

    return Fused()


MODULES = {
    "softmax": (MLP((7,), C, []), (7,)),
    "mlp": (MLP((7,), C, [6, 5], "tanh"), (7,)),
    "relu": (MLP((7,), C, [6]), (7,)),
    "cnn": (CNN((1, 8, 8), C, [3]), (1, 8, 8)),
    "functional": (nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, C)), (7,)),
    "fused": (_fused((4, 3), C), (4, 3)),
}


def _case(name: str) -> tuple[nn.Module, Kernel, Tensor, Tensor, Tensor]:
    """A module in float64, its kernel, random rows, inputs ``[B, b, …]`` and labels ``[B, b]``."""
    random = torch.Generator().manual_seed(3)
    module, features = MODULES[name]
    module = module.double()
    x = torch.randn(B, b, *features, generator=random, dtype=torch.float64)
    y = torch.randint(0, C, (B, b), generator=random)
    row = row_of(module)
    x_BP = row + 0.3 * torch.randn(B, len(row), generator=random, dtype=torch.float64)
    kernel = kernel_for(module, LOSSES["cross_entropy"](), x[0, :2], B)
    return module, kernel, x_BP, x, y


def _loop(
    module: nn.Module, x_BP: Tensor, x: Tensor, y: Tensor, there: Tensor, clip: float | None
) -> Tensor:
    """The sum of clipped gradients by autograd, sample by sample."""
    total = torch.zeros_like(x_BP)
    for i in range(B):
        for s in np.flatnonzero(there[i].numpy()):
            g = plain_gradient(x_BP[i], module, x[i, s : s + 1], y[i, s : s + 1], "cross_entropy")
            total[i] += g if clip is None else g * min(1.0, clip / float(g.norm()))
    return total


@pytest.mark.parametrize("clip", [0.5, 1e6, None])
@pytest.mark.parametrize("name", MODULES)
def test_clipped_sums_equal_a_plain_loop(
    name: str, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, kernel, x_BP, x, y = _case(name)
    there = torch.ones(B, b, dtype=torch.float64)
    there[0, 4:] = there[1, 1:] = 0
    scale = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64).view(B, 1, 1)
    expected = _loop(module, x_BP, x, y, there, clip) * scale[:, 0]
    target = kernel.loss.encode(y, C, torch.float64)  # type: ignore[attr-defined]
    for many in (1 << 20, 4 * x_BP.shape[1], 1):  # in one part, in some, sample by sample
        monkeypatch.setattr(clipped, "NUMBERS_AT_ONCE", many)
        at = BlockParameters(kernel.layout, B, x_BP)
        at.load(x_BP)
        # gradients that are added to the very parameters they are taken at, as plain SGD does
        out = clipped_gradients(kernel, at.views, at.views, b, clip)(x, target, scale, there)
        torch.testing.assert_close(at.rows() - x_BP, expected)
        before = BlockParameters(kernel.layout, B, x_BP)
        before.load(x_BP)
        seen = there.unsqueeze(1).bool().expand_as(out)
        torch.testing.assert_close(out[seen], kernel.outputs(before.views, x)[seen])


@pytest.mark.parametrize("clip", [0.1, 1e6])
def test_each_sample_of_a_sequence_model_is_clipped_with_all_its_positions(clip: float) -> None:
    module = GRU((5,), C, vocabulary=C, width=6, depth=1).double()
    tokens = torch.randint(0, C, (B, b, 5), generator=torch.Generator().manual_seed(0))
    kernel = kernel_for(module, LOSSES["cross_entropy"](), tokens[0, :2], B)
    x_BP = row_of(module).repeat(B, 1)
    at, into = (BlockParameters(kernel.layout, B, x_BP) for _ in range(2))
    at.load(x_BP)
    into.load(torch.zeros_like(x_BP))
    target = LOSSES["cross_entropy"]().encode(tokens.flatten(1), C, torch.float64)
    there, one = torch.ones(B, b, dtype=torch.float64), torch.ones(B, 1, 1, dtype=torch.float64)
    clipped_gradients(kernel, into.views, at.views, 5 * b, clip)(tokens, target, one, there)
    alone = PerDevice(module, LOSSES["cross_entropy"]())
    expected = torch.zeros_like(x_BP)
    for s in range(b):
        each = BlockParameters(kernel.layout, B, x_BP)
        each.load(torch.zeros_like(x_BP))
        part = target.view(B, C, b, 5)[:, :, s]
        alone.gradients(each.views, at.views, 5)(tokens[:, s : s + 1], part, 1 / 5)
        g_BP = each.rows()
        expected += g_BP * (clip / g_BP.norm(dim=1, keepdim=True)).clamp_max(1)
    torch.testing.assert_close(into.rows(), expected)


def _learner(privacy: SampleLevel, **options: float) -> PrivateLearner:
    _, kernel, *_ = _case("relu")
    optimizer = SGD(1.0, Constant(), **options)
    return PrivateLearner(kernel, LOSSES["cross_entropy"](), optimizer, C, privacy, 7)


def _batch(places: int, **given: object) -> tuple[Tensor, Batch]:
    """Two steps of three devices, and the rows to start from."""
    _, kernel, x_BP, x, y = _case("relu")
    target = kernel.loss.encode(y, C, torch.float64)  # type: ignore[attr-defined]
    there = torch.zeros(B, 2, b, dtype=torch.float64)
    there[:, :, :places] = 1
    return x_BP, Batch(
        x[:, None].repeat(1, 2, 1, 1),
        target[:, None].repeat(1, 2, 1, 1),
        None,
        None,
        torch.tensor([0, 4, 4]),
        weight=torch.full((B, 1), 0.25, dtype=torch.float64),
        there=there,
        device=np.array([5, 6, 9]),
        **given,  # type: ignore[arg-type]
    )


def test_a_step_divides_by_the_mean_size_of_a_mini_batch() -> None:
    """Not by the size that was drawn, which depends on who is there."""
    x_BP, batch = _batch(5)
    module, *_, x, y = _case("relu")
    learnt, scores = _learner(SampleLevel(None, 0.0)).train(x_BP, {}, batch, 0.1)
    expected = x_BP.clone()
    for _ in range(2):
        there = batch.there[:, 0]  # type: ignore[index]
        expected = expected - 0.1 * 0.25 * _loop(module, expected, x, y, there, None)
    torch.testing.assert_close(learnt, expected)
    assert scores.scored_B is None


def test_noise_has_the_stated_size_and_follows_from_seed_device_and_step() -> None:
    x_BP, batch = _batch(0)  # no sample is there, so that a step is noise alone
    learner = _learner(SampleLevel(2.0, 1.5))
    learnt, _ = learner.train(x_BP, {}, batch, 0.1)
    normal = NormalRows(Keys(7, "privacy.sample"), x_BP.shape[1], np.float64)
    std = np.full(B, 0.1 * 0.25 * 2.0 * 1.5)
    expected = x_BP.clone()
    for k in range(2):
        for some, rows in normal.rows(np.array([5, 6, 9]), np.array([k, 4 + k, 4 + k]), std):
            expected[some] += torch.from_numpy(rows)
    torch.testing.assert_close(learnt, expected)
    with_momentum, _ = _learner(SampleLevel(2.0, 1.5), momentum=1e-9).train(
        x_BP, {"velocity": torch.zeros_like(x_BP)}, batch, 0.1
    )
    torch.testing.assert_close(with_momentum - x_BP, x_BP - learnt, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("count", [4096, 4811])
def test_normal_rows_are_normal_and_independent(count: int) -> None:
    normal, devices = NormalRows(Keys(0, "test"), count), np.arange(64)
    rows = np.concatenate([r.copy() for _, r in normal.rows(devices, devices * 0, np.ones(64))])
    z, n = rows.astype(np.float64), rows.size
    assert abs(z.mean()) < 4 / n**0.5
    assert abs((z**2).mean() - 1) < 4 * (2 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    half = -(-count // 2)
    pairs = z[:, : count - half] * z[:, half:]
    assert abs(pairs.mean()) < 4 / pairs.size**0.5
    for t, share in ((1, 0.317311), (2, 0.0455), (3, 0.0026998)):
        assert abs((np.abs(z) > t).mean() - share) < 4 * (share / n) ** 0.5
    # a row is the same whichever others are drawn, and another for another step, device or purpose
    some, std = devices[[9, 3, 40, 8]], np.array([1.0, 0.0, 2.0, 1.0])
    ((places, found),) = normal.rows(some, some * 0, std)
    assert list(places) == [0, 2, 3]
    assert np.array_equal(found[[0, 2]], rows[[9, 8]])
    np.testing.assert_allclose(found[1], 2 * rows[40], rtol=1e-5)
    ((_, later),) = normal.rows(devices[:1], np.array([1]), np.ones(1))
    assert abs(np.corrcoef(later[0], rows[0])[0, 1]) < 0.1
    ((_, other),) = NormalRows(Keys(0, "x"), count).rows(devices[:1], np.array([0]), np.ones(1))
    assert abs(np.corrcoef(other[0], rows[0])[0, 1]) < 0.1


def test_a_release_is_clipped_and_noised() -> None:
    start = torch.zeros(3, 40_000, dtype=torch.float64)
    end = torch.zeros_like(start)
    end[0, :9], end[1, 0] = 1.0, 0.5  # norms of 3, 0.5 and 0
    privacy, devices = SampleLevel(1.0, 2.0), np.array([4, 5, 6])
    quiet = released(SampleLevel(1.0, 0.0), start, end, devices, 3, 0)
    torch.testing.assert_close(quiet.norm(dim=1), torch.tensor([1.0, 0.5, 0.0]).double())
    torch.testing.assert_close(quiet[0], end[0] / 3)
    for share in (1.0, 0.25):
        noise = released(privacy, start, end, devices, 3, 0, share) - quiet
        np.testing.assert_allclose(noise.std(dim=1).numpy(), share * 2.0, rtol=0.02)
        assert abs(float(noise.mean())) < 0.02
    again = released(privacy, start[1:], end[1:], devices[1:], 3, 0)
    assert torch.equal(again, released(privacy, start, end, devices, 3, 0)[1:])
    assert not torch.equal(again, released(privacy, start[1:], end[1:], devices[1:], 4, 0))
