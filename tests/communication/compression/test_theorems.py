"""What the papers prove of each compressor: contractions, unbiasedness, variances, rounding
errors.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm.common.rows import Layout
from swarm.communication.compression.low_rank import factor, sides
from swarm.communication.compression.neurons import Neurons
from swarm.communication.compression.top_k import TopK
from swarm.learning.models.dense import MLP
from tests.communication.compression.cases import CASES, LAYOUT, WIDTH, draw, make, payload

ROUNDS = 3000


def _energy(v_nM: Tensor) -> Tensor:
    return v_nM.double().square().sum(1)


def _left(case: str, v_nM: Tensor, round: int = 1) -> Tensor:
    """‖v − C(v)‖² of each row."""
    return _energy(v_nM.double() - make(case)(v_nM, draw(len(v_nM), round)).double())


def _many(case: str, v_M: Tensor) -> Tensor:
    """C(v) of one row as many devices send it, ``[ROUNDS, M]``."""
    return make(case)(v_M.expand(ROUNDS, -1).contiguous(), draw(ROUNDS)).double()


# --- every one of them ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_a_row_does_not_depend_on_its_company(case: str, dtype: torch.dtype) -> None:
    """Bit for bit: alone, in another order, behind more rows than are taken at once, and wherever
    it lies in memory.
    """
    compressor, v_nM = make(case), payload(600, WIDTH, dtype)
    whole = compressor(v_nM, draw(600))
    order = np.random.default_rng(0).permutation(600)
    assert torch.equal(compressor(v_nM[order], draw(order)), whole[order])
    for rows in ([4], [17, 599], list(range(3, 130))):
        assert torch.equal(compressor(v_nM[rows], draw(np.array(rows))), whole[rows])
    shifted = torch.empty(600 * WIDTH + 1, dtype=dtype)[1:].view(600, WIDTH).copy_(v_nM)
    assert torch.equal(compressor(shifted, draw(600)), whole)


@pytest.mark.parametrize("case", CASES)
def test_the_payload_is_left_alone_and_its_kind_kept(case: str) -> None:
    for dtype in (torch.float32, torch.float64):
        v_nM = payload(5, WIDTH, dtype)
        before = v_nM.clone()
        sent = make(case)(v_nM, draw(5))
        assert torch.equal(v_nM, before)
        assert (sent.dtype, sent.shape) == (dtype, v_nM.shape)
        assert torch.equal(make(case)(torch.zeros(3, WIDTH), draw(3)).abs(), torch.zeros(3, WIDTH))


CONTRACTIONS = {
    "top_k": 1 - 26 / WIDTH, "top_k of 1": 1 - 1 / WIDTH, "top_k of all": 0.0, "random_k of all": 0.0, "sign": 1.0,
    "low_rank": 1.0, "low_rank of 1": 1.0, "low_rank of 4": 1.0, "random_k": 1.0,
    "neurons": 1 - (2 / 5) * (3 / 7), "neurons of 1": 1 - (1 / 5) * (1 / 7), "neurons of all": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRACTIONS)
def test_no_draw_makes_a_row_longer(case: str) -> None:
    """‖v − C(v)‖² ≤ (1 − δ) ‖v‖² for every row and draw, with the δ of the paper where one holds
    for every draw.
    """
    v_nM = payload(300)
    for round in (1, 2):
        assert (_left(case, v_nM, round) <= CONTRACTIONS[case] * _energy(v_nM) * (1 + 1e-6)).all()


# --- top_k ----------------------------------------------------------------------------------------


def test_top_k_takes_the_largest_and_of_equal_ones_the_first() -> None:
    for k in (1, 5, 26, WIDTH):
        v_nM = payload(50)
        found = TopK(k / WIDTH)(v_nM, draw(50))
        for v, c in zip(v_nM, found, strict=True):
            order = sorted(range(WIDTH), key=lambda i: (-abs(float(v[i])), i))[:k]
            expected = torch.zeros_like(v)
            expected[order] = v[order]
            assert torch.equal(c, expected)


def test_top_k_is_worst_where_all_are_equal() -> None:
    v = torch.full((1, WIDTH), -3.0)
    assert float(_left("top_k", v) / _energy(v)) == pytest.approx(1 - 26 / WIDTH, abs=1e-12)


def test_top_k_lets_a_nan_through() -> None:
    v = payload(6)
    v[4, 77] = math.nan
    assert torch.isnan(make("top_k")(v, draw(6))[4, 77])


# --- random_k -------------------------------------------------------------------------------------


def test_random_places_are_different_and_equally_likely() -> None:
    places = make("random_k").places(WIDTH, draw(ROUNDS)).numpy()
    assert all(len(set(row)) == 26 for row in places.tolist())
    hits = np.bincount(places.ravel(), minlength=WIDTH)
    share = 26 / WIDTH
    assert np.abs(hits - ROUNDS * share).max() < 5 * math.sqrt(ROUNDS * share * (1 - share))
    # without putting back: k(k − 1)/(M(M − 1)) have both
    together = (places == 0).any(1) & (places == 1).any(1)
    assert together.mean() == pytest.approx(
        26 * 25 / (WIDTH * (WIDTH - 1)), abs=4 * math.sqrt(0.01 / ROUNDS)
    )


@pytest.mark.parametrize(
    ("case", "factor"), [("random_k", 1 - 26 / WIDTH), ("random_k, unbiased", WIDTH / 64 - 1)]
)
def test_the_mean_error_of_random_places(case: str, factor: float) -> None:
    """E‖v − C(v)‖² = (1 − k/M) ‖v‖², or (M/k − 1) ‖v‖² if scaled."""
    v = payload(5)[4]
    error = _energy(v.double() - _many(case, v))
    expected = factor * float(_energy(v[None]))
    assert float(error.mean()) == pytest.approx(
        expected, abs=5 * float(error.std()) / math.sqrt(ROUNDS)
    )


# --- unbiased ones --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", ["random_k, unbiased", "qsgd, 8 bits", "qsgd, 4 bits", "qsgd, 2 bits"]
)
def test_unbiased(case: str) -> None:
    v = payload(5)[4]
    sent = _many(case, v)
    z = (sent.mean(0) - v.double()) / (sent.std(0) / math.sqrt(ROUNDS) + 1e-6 * v.norm())
    assert float(z.abs().max()) < 5
    assert float(z.square().mean()) < 1.5


@pytest.mark.parametrize("case", ["qsgd, 8 bits", "qsgd, 4 bits", "qsgd, 2 bits"])
def test_the_variance_of_stochastic_rounding(case: str) -> None:
    """E‖C(v) − v‖² ≤ min(d/s², √d/s) ‖v‖², on rows that are hard (all equal) and easy (one number)
    alike.
    """
    compressor = make(case)
    for v in (
        payload(5)[4],
        torch.ones(WIDTH),
        torch.eye(WIDTH)[7] * 1e-6,
        torch.linspace(-1, 1, WIDTH) ** 9,
    ):
        error = _energy(_many(case, v) - v.double()).mean()
        assert float(error) <= compressor.variance(WIDTH) * float(_energy(v[None])) * 1.02


def test_divided_by_one_plus_its_variance_it_is_a_contraction() -> None:
    compressor = make("qsgd, contractive")
    omega = compressor.variance(WIDTH)
    for v in (payload(5)[4], torch.ones(WIDTH)):
        left = _energy(v.double() - _many("qsgd, contractive", v)).mean()
        assert float(left) <= (1 - 1 / (1 + omega)) * float(_energy(v[None])) * 1.02


def test_codes_fit_their_bits() -> None:
    v = torch.cat([payload(300), torch.eye(WIDTH), -1e-30 * torch.eye(WIDTH)])
    for case, s in (("qsgd, 8 bits", 127), ("qsgd, 4 bits", 7), ("qsgd, 2 bits", 1)):
        level, unit = make(case).levels(v, torch.full_like(v, 1 - 2.0**-24))
        assert level.abs().max() <= s
        assert (level == level.round()).all()
        assert torch.isfinite(unit).all()


# --- sign, float16 --------------------------------------------------------------------------------


def test_what_signs_leave() -> None:
    """‖v − C(v)‖² = ‖v‖² − ‖v‖₁²/M, whatever the sign of a zero; nothing where all magnitudes are
    equal.
    """
    v = payload(300, dtype=torch.float64)
    torch.testing.assert_close(
        _left("sign", v), _energy(v) - v.abs().sum(1).square() / WIDTH, rtol=1e-9, atol=1e-9
    )
    even = torch.where(v > 0, 2.5, -2.5)
    assert torch.equal(make("sign")(even, draw(300)), even)


def test_half_precision_rounds_to_the_nearest_and_saturates() -> None:
    random = np.random.default_rng(0)
    v = torch.as_tensor(
        random.standard_normal((100, 500)) * 10.0 ** random.uniform(-12, 4.6, (100, 500))
    )
    assert (v.abs() > 65504).sum() > 0
    for dtype in (torch.float32, torch.float64):
        rows = v.to(dtype)
        sent = make("float16")(rows, draw(100)).double()
        inside = rows.double().clamp(-65504, 65504)
        bound = torch.maximum(2.0**-11 * inside.abs(), torch.tensor(2.0**-25).double()) * (
            1 + 2.0**-12
        )
        assert ((sent - inside).abs() <= bound).all()
    large = torch.tensor([[65504.0, 65519.0, 65520.0, 1e30, math.inf, -math.inf, -1e5]])
    expected = torch.tensor([[65504.0, 65504, 65504, 65504, 65504, -65504, -65504]])
    assert torch.equal(make("float16")(large, draw(1)), expected)
    assert torch.isnan(make("float16")(torch.tensor([[math.nan]]), draw(1))).all()


# --- low_rank -------------------------------------------------------------------------------------


def _matrices(spectrum: list[float], devices: int = ROUNDS) -> Tensor:
    """A row with a 7 × 20 matrix of these singular values in its place, for many devices."""
    slot = next(s for s in LAYOUT.slots if sides(s) == (7, 20))
    random = np.random.default_rng(1)
    left, right = (np.linalg.qr(random.standard_normal((side, 7)))[0] for side in (7, 20))
    w = torch.as_tensor(left @ np.diag(spectrum) @ right.T)
    row = torch.zeros(devices, WIDTH, dtype=torch.float64)
    row[:, slot.start : slot.stop] = w.flatten()
    return row


def test_vectors_are_sent_whole_and_matrices_of_low_rank_exactly() -> None:
    row = _matrices([5.0, 0.01, 0, 0, 0, 0, 0], 20)
    for slot in LAYOUT.slots:
        if len(slot.shape) == 1:
            row[:, slot.start : slot.stop] = torch.randn(slot.stop - slot.start).double()
    torch.testing.assert_close(make("low_rank")(row, draw(20)), row, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        make("low_rank of 4")(row.float(), draw(20)).double(), row, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    "spectrum", [[1.0] * 7, [8, 4, 2, 1, 0.5, 0.2, 0.1], [3, 3, 0.5, 0.5, 0.5, 0.5, 0.5]], ids=str
)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_what_low_rank_leaves_on_average(rank: int, spectrum: list[float]) -> None:
    """E‖W − C(W)‖² ≤ (1 − r/min(m, k)) ‖W‖², and ≤ (1 + h/(r − h − 1)) Σ_{j>h} σ_j² (Halko et al.);
    for the best matrix of rank r it would be Σ_{j>r} σ_j²."""
    row = _matrices(spectrum)
    left = _left(f"low_rank of {rank}" if rank != 2 else "low_rank", row)
    squares = np.square(spectrum)
    assert float(left.min()) >= squares[rank:].sum() - 1e-9
    assert float(left.mean()) <= (1 - rank / 7) * squares.sum() * (1 + 1e-3)
    for h in range(rank - 1):
        assert float(left.mean()) <= (1 + h / (rank - h - 1)) * squares[h:].sum() * (1 + 1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_factors_are_a_projection(seed: int) -> None:
    """The rows of P are orthonormal up to rounding, or zero, in float32; and where W has less rank
    they still span all of it.

    Where W has rank 1 a further row is zero or, if the column that it came from was cancelled out
    to rounding error, one more direction: which of the two does not matter to what is sent.
    """
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(40, 7, 20, generator=draw)
    w[:20] = w[:20, :, :1] * w[:20, :1, :]  # of rank 1
    p, q = factor(w, torch.randn(40, 20, 4, generator=draw))
    gram = p @ p.mT
    length = gram.diagonal(dim1=1, dim2=2).round()
    torch.testing.assert_close(gram, torch.diag_embed(length), rtol=0, atol=1e-5)
    assert (length[20:] == 1).all()
    assert (length[:20, 0] == 1).all()
    torch.testing.assert_close(p[:20].mT @ q[:20], w[:20], rtol=1e-4, atol=1e-4)


# --- neurons --------------------------------------------------------------------------------------


def _one_layer(share: float = 0.25) -> Neurons:
    return Neurons(Layout.of(MLP((9,), 4, [12])), share)


def _numbers_of(neurons: list[int]) -> Tensor:
    """Where a row of 9-12-4 has the numbers of these neurons."""
    into, out = torch.zeros(12, 9, dtype=torch.bool), torch.zeros(4, 12, dtype=torch.bool)
    into[neurons], out[:, neurons] = True, True
    bias = into[:, 0]
    return torch.cat([into.flatten(), bias, out.flatten(), torch.zeros(4, dtype=torch.bool)])


def test_neurons_are_sent_whole_and_what_is_sent_of_others_is_zero() -> None:
    compressor = _one_layer()
    v = torch.randn(1, compressor.layout.width, generator=torch.Generator().manual_seed(0)) * 0.01
    active = _numbers_of([2, 7, 11])
    v[:, active] *= 100
    sent = compressor(v, draw(1))
    outside = _numbers_of([n for n in range(12) if n not in (2, 7, 11)])
    assert not sent[:, outside].any()
    assert torch.equal(sent[:, ~outside], v[:, ~outside])


def test_of_equal_neurons_the_first_are_sent_and_a_nan_goes_through() -> None:
    compressor = _one_layer()
    sent = compressor(torch.ones(1, compressor.layout.width), draw(1))
    assert torch.equal(sent[0] > 0, ~_numbers_of(list(range(3, 12))))
    v = torch.ones(1, compressor.layout.width)
    v[0, 5 * 9] = math.nan
    assert torch.isnan(compressor(v, draw(1))).sum() == 1


def test_an_update_of_few_neurons_travels_whole() -> None:
    """What selective activation left alone need not be sent: nothing is lost while no more than k
    neurons changed.
    """
    compressor = _one_layer()
    v = torch.randn(50, compressor.layout.width, generator=torch.Generator().manual_seed(1))
    for row, awake in enumerate(
        np.random.default_rng(0).permuted(np.tile(np.arange(12), (50, 1)), axis=1)[:, :3]
    ):
        v[row, _numbers_of([n for n in range(12) if n not in awake])] = 0.0
    assert torch.equal(compressor(v, draw(50)), v)


def test_neurons_are_worst_where_all_are_equal() -> None:
    compressor = _one_layer()
    v = torch.ones(1, compressor.layout.width)
    v[:, -4:] = 0.0
    left = _energy(v - compressor(v, draw(1))) / _energy(v)
    assert float(left) == pytest.approx(1 - 3 / 12, abs=1e-12)
