"""Sequence models: both forms agree, nothing looks ahead, and what a device keeps is bounded where
it should be.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.learning.models import rows
from swarm.learning.models.gru import GRU
from swarm.learning.models.mcsd import MCSD, SlopeDecay, fade
from swarm.learning.models.sequence import SequenceModel, state_bytes
from swarm.learning.models.transformer import Transformer
from tests.support import prepared

T, C = 48, 11


def made(name: str) -> SequenceModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "mcsd":
            return MCSD((T,), C, width=32, channels=4, depth=2, hidden=48)
        if name == "gru":
            return GRU((T,), C, width=32, depth=2)
        return Transformer((T,), C, width=32, heads=4, depth=2, hidden=48)


def tokens(count: int = 3, length: int = T) -> torch.Tensor:
    return torch.randint(C, (count, length), generator=torch.Generator().manual_seed(1))


def read(model: SequenceModel, x: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    state, out, kept = model.empty(len(x)), [], []
    for token in x.unbind(1):
        prediction, state = model.step(token, state)
        out.append(prediction)
        kept.append(state_bytes(state))
    return torch.stack(out, 1), kept


@pytest.mark.parametrize("length", [1, T, 64, 65, 200])
@pytest.mark.parametrize("name", ["mcsd", "gru", "transformer"])
def test_token_by_token_is_the_whole_sequence(name: str, length: int) -> None:
    """Also beyond a chunk of 64 positions, and for the form in which a block of devices learns."""
    model, x = made(name), tokens(length=length)
    expected = read(model, x)[0]
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
    parameters = {n: p.expand(2, *p.shape) for n, p in model.named_parameters()}
    for out in model.over_rows(parameters, x.expand(2, *x.shape)):
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 128, 130, 4096, 4097])
def test_long_sequences_fade_as_short_ones_do(length: int) -> None:
    """h_t = λ h_{t−1} + v_t step by step, against chunks of matrices, and chunks side by side;
    chunks of chunks from 4096.
    """
    rate = torch.tensor([0.5, 0.97, 0.9995], dtype=torch.float64)
    v = torch.randn(
        2, length, 3, 1, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    h, expected = torch.zeros(2, 3, 1, dtype=torch.float64), []
    for now in v.unbind(1):
        h = rate[:, None] * h + now
        expected.append(h)
    torch.testing.assert_close(fade(v, rate), torch.stack(expected, 1), rtol=0, atol=1e-10)
    uv = torch.cat([torch.ones_like(v), v], -2).view(2, length, 1, 6).requires_grad_()
    faded = rows.faded(uv, rate)
    torch.testing.assert_close(faded.view(v.shape), torch.stack(expected, 1), rtol=0, atol=1e-10)
    weight = torch.randn(
        faded.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    leaf = v.clone().requires_grad_()
    (there,) = torch.autograd.grad((fade(leaf, rate).view(weight.shape) * weight).sum(), leaf)
    (here,) = torch.autograd.grad((faded * weight).sum(), uv)
    torch.testing.assert_close(here[..., 3:].reshape(v.shape), there, rtol=0, atol=1e-9)
    torch.testing.assert_close(here[..., :3], weight * faded.detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["mcsd", "gru", "transformer"])
def test_no_later_token_changes_an_earlier_prediction(name: str) -> None:
    model, x = made(name), tokens()
    changed = x.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % C
    before, after = model(x), model(changed)
    torch.testing.assert_close(after[:, :20], before[:, :20], rtol=0, atol=1e-6)
    assert (after[:, 20:] - before[:, 20:]).abs().amax() > 1e-3


def test_only_a_cache_grows() -> None:
    for name in ("mcsd", "gru"):
        kept = read(made(name), tokens())[1]
        assert len(set(kept)) == 1
    grown = read(made("transformer"), tokens())[1]
    assert all(b - a == grown[0] for a, b in pairwise(grown))


def test_a_layer_is_its_formula() -> None:
    """h_t = λ h_{t−1} + v_t and y_t = u_t ⊙ h_t, written out for one channel of each section."""
    layer = SlopeDecay(8, 2, 8)
    x = layer.norm(torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(2)))
    # exp(−2⁻⁴), exp(−2⁻⁸)
    expected = [0.9394130628134757, 0.9961013694701175, 1 - 2.0**-5, 1 - 2.0**-6]
    assert layer.rates == pytest.approx(expected, abs=1e-15)
    u, v = layer._branches(x)
    for c in range(4):
        part, h = x[0, :, 4 * (c % 2) : 4 * (c % 2) + 4], torch.zeros(4)
        for t in range(5):
            h = expected[c] * h + part[t] @ layer.project[c, :, 4:]
            torch.testing.assert_close(v[0, t, c], part[t] @ layer.project[c, :, 4:])
            torch.testing.assert_close(u[0, t, c], part[t] @ layer.project[c, :, :4])
    whole = layer.forward(torch.zeros(1, 3, 8))
    assert torch.equal(whole, torch.zeros(1, 3, 8))


def test_gru_is_torchs_gru() -> None:
    ours = made("gru").layers[0]
    theirs = torch.nn.GRU(32, 32, batch_first=True)
    names = {
        "weight_ih_l0": "input.weight",
        "bias_ih_l0": "input.bias",
        "weight_hh_l0": "hidden.weight",
        "bias_hh_l0": "hidden.bias",
    }
    theirs.load_state_dict({a: ours.state_dict()[b] for a, b in names.items()})
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: MCSD((8,), 5, width=30, channels=4, depth=1, hidden=8),
            "channels=4: must divide width=30",
        ),
        (lambda: GRU((8, 2), 5, width=8, depth=1), "needs sequences of tokens"),
        (lambda: GRU((8,), 5, width=0, depth=1), "width=0: must be a whole number from 1"),
        (
            lambda: Transformer((8,), 5, width=8, heads=3, depth=1, hidden=8),
            "heads=3: must be so that",
        ),
        (lambda: GRU((8,), 5, width=8, depth=1, vocabulary=0), "vocabulary=0: must be null"),
    ],
)
def test_refused(make: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ("data=markov", "model.vocabulary=19"),
            "^model.vocabulary=19: must be at least 20: the data have tokens up to 19",
        ),
        (
            ("data=digits", "model.predict=last"),
            "^model=gru: needs tokens 0, 1, …; the data have other numbers",
        ),
    ],
)
def test_what_is_no_token_of_the_model_is_refused(overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared("partition=iid", "model=gru", *overrides)
