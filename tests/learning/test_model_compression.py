"""A smaller model of a trained one's parameters."""

from __future__ import annotations

import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.learning.model_compression import prune_neurons, quantise
from swarm.learning.models.cnn import CNN
from swarm.learning.models.dense import MLP


def mlp(*hidden: int) -> MLP:
    torch.manual_seed(0)
    return MLP((6,), 3, list(hidden))


def predicts(state: dict[str, torch.Tensor], x: torch.Tensor, *hidden: int) -> torch.Tensor:
    model = MLP((6,), 3, list(hidden))
    model.load_state_dict(state)
    with torch.no_grad():
        out: torch.Tensor = model(x)
    return out


def test_neurons_that_do_nothing_go_first_and_nothing_changes() -> None:
    model, x = mlp(8, 5), torch.randn(20, 6)
    with torch.no_grad():
        model[1].weight[[1, 4]] = 0  # never active
        model[1].bias[[1, 4]] = 0
        model[3].weight[:, [0, 7]] = 0  # never heard
        model[5].weight[:, 2] = 0
    state = prune_neurons(model.state_dict(), model, [4, 4])
    assert state["1.weight"].shape == (4, 6)
    assert state["3.weight"].shape == (4, 4)
    with torch.no_grad():
        torch.testing.assert_close(predicts(state, x, 4, 4), model(x))


def test_scaling_a_neuron_in_and_back_out_does_not_save_it() -> None:
    model = mlp(8)
    before = prune_neurons(model.state_dict(), model, [3])
    with torch.no_grad():
        for h, scale in enumerate((50.0, 0.02, 1, 3, 0.5, 9, 2, 0.1)):
            model[1].weight[h] *= scale
            model[1].bias[h] *= scale
            model[3].weight[:, h] /= scale
    after = prune_neurons(model.state_dict(), model, [3])
    x = torch.randn(9, 6)
    torch.testing.assert_close(predicts(after, x, 3), predicts(before, x, 3))


def test_all_neurons_are_the_model_itself_and_it_is_not_changed() -> None:
    model = mlp(8, 5)
    given = {name: value.clone() for name, value in model.state_dict().items()}
    found = prune_neurons(model.state_dict(), model, [8, 5])
    assert all(torch.equal(found[name], value) for name, value in given.items())
    prune_neurons(model.state_dict(), model, [1, 1])["1.weight"].fill_(7)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in given.items())


@pytest.mark.parametrize("widths", [[3], [0, 2], [9, 2], [3, 3, 3]])
def test_widths_that_there_are_not_are_refused(widths: list[int]) -> None:
    model = mlp(8, 5)
    with pytest.raises(ValueError, match="width"):
        prune_neurons(model.state_dict(), model, widths)


def test_a_filter_goes_with_all_that_hears_it() -> None:
    torch.manual_seed(1)
    model, x = CNN((1, 8, 8), 3, channels=[4, 6]), torch.randn(5, 1, 8, 8)
    layers = model.neurons()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    silent = [2, 3]
    for layer, dead in zip(layers, silent, strict=True):
        count = min(state[name].shape[axis] for name, axis in layer.items())
        for name, axis in layer.items():
            each = state[name].shape[axis] // count
            rows = torch.arange(each) + dead * each
            state[name].index_fill_(axis, rows, 0.0)
    model.load_state_dict(state)
    smaller = CNN((1, 8, 8), 3, channels=[3, 5])
    smaller.load_state_dict(prune_neurons(state, model, [3, 5]))
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), model(x))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_is_half_a_step_at_most_and_the_ends_of_a_group_stay(bits: int) -> None:
    torch.manual_seed(0)
    state = {"weight": torch.randn(10, 13), "bias": torch.randn(7)}
    found = quantise(state, bits, group=32)
    assert torch.equal(found["bias"], state["bias"])
    pairs = zip(state["weight"].flatten().split(32), found["weight"].flatten().split(32),
                strict=True)  # fmt: skip
    for x_G, rounded_G in pairs:
        step = (x_G.max() - x_G.min()) / (2**bits - 1)
        assert (x_G - rounded_G).abs().max() <= step / 2 + 1e-6
        assert len(rounded_G.unique()) <= 2**bits
        torch.testing.assert_close(rounded_G.max(), x_G.max())
        assert rounded_G.min() == x_G.min()
    torch.testing.assert_close(quantise(found, bits, group=32), found)


def test_equal_numbers_stay_and_strange_bits_are_refused() -> None:
    assert torch.equal(quantise({"w": torch.full((2, 2), 3.0)}, 4)["w"], torch.full((2, 2), 3.0))
    with pytest.raises(ConfigError, match="bits=0"):
        quantise({}, 0)
