"""Selective activation: exactly k units work, the others neither compute nor learn, and FLOPs are
what a machine would take that leaves them out."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from swarm.common.errors import ConfigError
from swarm.common.rows import HasNeurons, Layout
from swarm.learning.kernels.flops import flops_of_step
from swarm.learning.kernels.kernel import Functional
from swarm.learning.kernels.losses import CrossEntropy
from swarm.learning.kernels.module import kernel_for
from swarm.learning.models.dense import MLP
from swarm.learning.models.selective import Selective, SelectiveLayer, sample_key
from tests.support import experiment, prepared, records

SELECTS = ("learned", "random", "fixed")


def made(select: str = "learned", hidden: tuple[int, ...] = (24,), **options: Any) -> Selective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Selective((9,), 4, list(hidden), select=cast(Any, select), **options).double()


def samples(count: int = 40) -> Tensor:
    return torch.randn(count, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    functional.cross_entropy(model(x), torch.arange(len(x)) % 4, reduction="sum").backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("select", SELECTS)
@pytest.mark.parametrize(
    ("active", "group", "k"), [(0.25, 1, 6), (0.25, 4, 2), (0.01, 1, 1), (1.0, 2, 12)]
)
def test_exactly_k_units_work(select: str, active: float, group: int, k: int) -> None:
    model = made(select, (24, 24), active=active, group=group)
    for mask in model.masks(samples()):
        assert mask.sum(1).tolist() == [k] * 40
        assert set(mask.flatten().tolist()) <= {0, 1}
    layer = cast(SelectiveLayer, model.layers[0])
    hidden = layer(samples(), sample_key(samples()))
    working = model.masks(samples())[0].repeat_interleave(group, 1) > 0
    assert not hidden[~working].any()
    assert hidden[working].all()


def test_a_layer_is_its_formula() -> None:
    """m ⊙ (Wx + b) ⊙ tanh(s − θ), unit by unit, θ the best score that is not picked."""
    layer, x = cast(SelectiveLayer, made(group=2).layers[0]), samples(5)
    found = layer(x, sample_key(x))
    for row, sample in zip(found, x, strict=True):
        s = layer.selector.up(layer.selector.down(sample))
        order = s.argsort(descending=True).tolist()
        expected = torch.zeros(24).double()
        for unit in order[:3]:
            for neuron in (2 * unit, 2 * unit + 1):
                z = layer.linear.weight[neuron] @ sample + layer.linear.bias[neuron]
                expected[neuron] = z * torch.tanh(s[unit] - s[order[3]])
        torch.testing.assert_close(row, expected)


def test_a_layer_is_continuous_where_its_mask_changes() -> None:
    """On the way from one sample to another masks change often, what the layer answers never
    jumps.
    """
    layer, (a, b) = cast(SelectiveLayer, made().layers[0]), samples(2)
    way = a + torch.linspace(0, 1, 20001).double()[:, None] * (b - a)
    out = layer(way, sample_key(way))
    picked = layer.picked(layer.selector(way), sample_key(way))[0].sort(1)[0]
    assert (picked[1:] != picked[:-1]).any(1).sum() >= 3
    assert (out[1:] - out[:-1]).abs().max() < 2e-3
    assert (out[-1] - out[0]).abs().max() > 0.3


@pytest.mark.parametrize("select", SELECTS)
def test_what_sleeps_does_not_learn_and_what_works_does(select: str) -> None:
    """The gradient of one sample: exactly zero in every number that belongs to an inactive neuron,
    but for the selector's row of the runner-up, whose score the active ones are measured
    against."""
    model = made(select, (24, 16), active=0.25, group=2)
    for x in samples(6).split(1):
        found, masks = gradients(model, x), model.masks(x)
        for axes, mask in zip(model.neurons(), masks, strict=True):
            for name, axis in axes.items():
                by_unit = found[name].movedim(axis, 0).reshape(mask.shape[1], -1)
                learning = by_unit.any(1)
                spare = int("selector.up" in name and select == "learned")
                assert learning[mask[0] == 1].all(), name
                assert int(learning[mask[0] == 0].sum()) == spare, name


@pytest.mark.parametrize("select", SELECTS)
def test_the_selector_learns_by_the_exact_gradient(select: str) -> None:
    """Every number of the model against finite differences, selectors included: there is nothing to
    estimate.
    """
    model, x = made(select, (24, 16)), samples(8)
    y = torch.arange(8) % 4
    found = gradients(model, x)
    generator = torch.Generator().manual_seed(3)
    for name, p in model.named_parameters():
        assert found[name].any(), name
        direction, eps = torch.randn(p.shape, generator=generator, dtype=p.dtype), 1e-6
        with torch.no_grad():
            values = []
            for step in (eps, -2 * eps):
                p.add_(direction, alpha=step)
                values.append(functional.cross_entropy(model(x), y, reduction="sum").item())
            p.add_(direction, alpha=eps)
        slope = (values[0] - values[1]) / (2 * eps)
        assert slope == pytest.approx(float((found[name] * direction).sum()), rel=1e-5, abs=1e-7), (
            name
        )


def test_masks_depend_on_the_sample_alone() -> None:
    x = samples()
    for select in SELECTS:
        model, order = made(select), torch.randperm(40, generator=torch.Generator().manual_seed(2))
        whole = model.masks(x)[0]
        assert torch.equal(model.masks(x[order])[0], whole[order])
        assert torch.equal(model.masks(x[3:4])[0], whole[3:4])
    assert len(made("fixed").masks(x)[0].unique(dim=0)) == 1
    assert len(made("learned").masks(x)[0].unique(dim=0)) > 5
    assert len(made("random").masks(x)[0].unique(dim=0)) == 40


def test_random_masks_are_fair() -> None:
    """Of 4000 samples each unit is in a quarter, each pair in k(k − 1)/(H(H − 1)), in either layer
    and independently.
    """
    first, second = made("random", (24, 24)).masks(samples(4000))
    for mask in (first.double(), second.double()):
        share = mask.mean(0)
        assert (share - 0.25).abs().max() < 4.5 * (0.25 * 0.75 / 4000) ** 0.5
        pairs = (mask.T @ mask / 4000)[torch.triu(torch.ones(24, 24), 1) > 0]
        assert (pairs - 6 * 5 / (24 * 23)).abs().max() < 5 * (0.054 / 4000) ** 0.5
    assert (first * second).double().mean().item() == pytest.approx(1 / 16, abs=0.003)


def test_a_fixed_selection_is_a_narrow_model_with_all_active() -> None:
    model, narrow = made("fixed", (24, 16)), made("learned", (6, 4), active=1.0)
    with torch.no_grad():
        for name, p in narrow.named_parameters():
            source = dict(model.named_parameters())[name]
            p.copy_(source[tuple(slice(size) for size in p.shape)])
    torch.testing.assert_close(model(samples()), narrow(samples()))
    assert model.step_flops(7) == narrow.step_flops(7)


# --- FLOPs ----------------------------------------------------------------------------------------


def _sparse(model: Selective, x: Tensor) -> Tensor:
    """One sample by a machine that touches active neurons only: the weights of others are never
    read.
    """
    h, at, key = x, torch.arange(x.shape[1]), sample_key(x)
    for number, layer in enumerate(cast(Any, model.layers)):
        down, up = layer.selector.down, layer.selector.up
        seen = functional.linear(h, down.weight[:, at], down.bias)
        with torch.no_grad():  # the scores of all, of which few need a gradient
            scores = up(seen) if layer.select == "learned" else torch.zeros(1, layer.units).double()
            units = layer.picked(scores, key + number)[0][0]
        with_next = units
        if layer.select == "learned" and layer.kept < layer.units:
            with_next = scores[0].topk(layer.kept + 1).indices
        s = functional.linear(seen, up.weight[with_next], up.bias[with_next])[0]
        gate = torch.tanh(s[: layer.kept] - (s[-1] if len(s) > layer.kept else 0.0))
        neurons = (units[:, None] * layer.group + torch.arange(layer.group)).flatten()
        h = functional.linear(h, layer.linear.weight[neurons][:, at], layer.linear.bias[neurons])
        h, at = h * gate.repeat_interleave(layer.group), neurons
    return functional.linear(h, model.head.weight[:, at], model.head.bias)


@pytest.mark.parametrize("select", SELECTS)
@pytest.mark.parametrize(("hidden", "group"), [((24,), 1), ((24, 16), 1), ((24, 16), 2)])
def test_flops_are_those_of_a_machine_that_leaves_out_what_sleeps(
    select: str, hidden: tuple[int, ...], group: int
) -> None:
    """Same answer, same gradient, and torch counts what the model states: but for the scores that
    have a gradient, which this machine computes a second time in order to differentiate no
    others."""
    model = made(select, hidden, group=group)
    for x in samples(4).split(1):
        dense = gradients(model, x)
        model.zero_grad()
        with FlopCounterMode(display=False) as counter:
            out = _sparse(model, x)
            functional.cross_entropy(
                out, torch.zeros(1, dtype=torch.long), reduction="sum"
            ).backward()
        torch.testing.assert_close(out, model(x))
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.grad, dense[name])
        twice = (
            sum(2 * 8 * (layer.kept + 1) for layer in cast(Any, model.layers))
            if select == "learned"
            else 0
        )
        assert counter.get_total_flops() - twice == model.step_flops(1)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            _sparse(model, x)
        assert counter.get_total_flops() - twice == model.prediction_flops(1)


def test_a_quarter_of_the_neurons_takes_a_quarter_of_the_flops_and_its_selector() -> None:
    model, x = Selective((64,), 10, [256]), torch.zeros(2, 64)
    dense = flops_of_step(MLP((64,), 10, [256]), x, 32)
    selector = 2 * 32 * (2 * 64 * 8 + 8 * 256 + 2 * 8 * 65)
    assert flops_of_step(model, x, 32) == dense / 4 + selector
    assert selector < 0.11 * dense


# --- in the framework -----------------------------------------------------------------------------


@pytest.mark.parametrize("select", SELECTS)
def test_it_runs_vectorised(select: str) -> None:
    assert isinstance(
        kernel_for(made(select, (24, 16), group=2), CrossEntropy(), samples(3), 4), Functional
    )


def test_time_energy_and_totals_of_a_fleet_follow_what_is_active() -> None:
    """FLOP of every local step so far are on record, with or without a fleet; a fleet takes as long
    as they do.
    """
    plain = records(prepared("model=selective", "protocol=none", "rounds=3"))
    assert plain[0].values["flops_total"] == 0
    fleet = ("fleet=uniform", "protocol=none", "rounds=3", "model.hidden=[256]")
    for active in (0.25, 0.5):
        e = experiment("model=selective", f"model.active={active}", *fleet)
        assert e.model.step_flops == Selective((64,), 10, [256], active).step_flops(
            e.settings.train.batch
        )
        last = records(prepared("model=selective", f"model.active={active}", *fleet))[-1].values
        assert last["flops_total"] == last["steps_total"] * e.model.step_flops > 0
        assert e.communication.fleet.hardware is not None
        seconds = (
            3
            * e.data.local_steps_N[0]
            * e.model.step_flops
            / e.communication.fleet.hardware.flops[0]
        )
        assert last["virtual_s"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"active": 0.0}, "active=0: must be above 0 and at most 1"),
        ({"active": 1.5}, "active=1.5: must be above 0 and at most 1"),
        ({"group": 5}, r"group=5: must be a number ≥ 1 that divides every width of hidden=\[24\]"),
        ({"group": 0}, "group=0: must be a number ≥ 1"),
        ({"rank": 0}, "rank=0: must be the width of a selector"),
        ({"hidden": ()}, r"hidden=\[\]: must be a list of at least one width"),
        ({"hidden": (8, 0)}, r"hidden=\[8, 0\]: must be a list"),
    ],
)
def test_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**options)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"0.weight": 2}, "0.weight: is named by neurons"),
        ({"other": 0}, "other: is named by neurons"),
        (
            {"0.weight": 0, "2.weight": 0},
            "0.weight: has 6 entries by neurons.*multiple of the layer's 4",
        ),
    ],
)
def test_neurons_that_are_not_there_are_refused(stated: dict[str, int], said: str) -> None:
    class Wrong(nn.Sequential, HasNeurons):
        def neurons(self) -> list[dict[str, int]]:
            return [stated]

    with pytest.raises(ConfigError, match=said):
        Layout.of(Wrong(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 4)))
