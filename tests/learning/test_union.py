"""Models of several shapes as parts of one row, against slices of named tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError
from swarm.common.rows import Layout
from swarm.learning.cohorts.parts import parts_of
from swarm.learning.cohorts.saved import cohort_facts, own_state
from swarm.learning.cohorts.union import Shape, Union, union_of
from swarm.learning.models.cnn import CNN
from swarm.learning.models.dense import MLP
from swarm.learning.models.gru import GRU
from swarm.learning.models.mcsd import MCSD
from swarm.learning.models.transformer import Transformer


def shape(name: str, module: nn.Module) -> Shape:
    last = [n for n, _ in module.named_parameters()][-1].rpartition(".")[0]
    return Shape(name, Layout.of(module), last, parts_of(module))


def union(*modules: nn.Module) -> Union:
    return union_of([shape(f"cohort{i}", module) for i, module in enumerate(modules)])


def mlp(*hidden: int) -> MLP:
    return MLP((6,), 3, [*hidden])


def test_a_smaller_shape_is_the_leading_corner_of_a_larger_one() -> None:
    large, small = mlp(5, 4), mlp(3, 4)
    found = union(large, small)
    row = torch.arange(found.layout.width, dtype=torch.float64)
    whole, part = (
        found.layout.views(row[None]),
        Layout.of(small).views(row[found.place_Cc[1]][None]),
    )
    for name, values in part.items():
        corner = tuple(slice(n) for n in values.shape)
        torch.testing.assert_close(values, whole[name][corner], rtol=0, atol=0)
    assert found.shared_CC.tolist() == [
        [Layout.of(large).width, Layout.of(small).width],
        [Layout.of(small).width, Layout.of(small).width],
    ]


def test_shapes_that_cross_share_what_both_have() -> None:
    found = union(mlp(5, 2), mlp(3, 4))
    sizes = [6 * 5 + 5 + 5 * 2 + 2 + 2 * 3 + 3, 6 * 3 + 3 + 3 * 4 + 4 + 4 * 3 + 3]
    both = 6 * 3 + 3 + 3 * 2 + 2 + 2 * 3 + 3
    assert found.shared_CC.tolist() == [[sizes[0], both], [both, sizes[1]]]
    assert found.layout.width == 6 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3
    held_PC = found.held_GC[found.group_P.numpy()]
    assert held_PC.sum(0).tolist() == sizes
    assert not held_PC.any(1).all(), "a corner of the union that nobody has"


def test_one_model_alone_is_its_own_union() -> None:
    model = CNN((8, 8), 3, [4, 6])
    found = union(model, model)
    assert found.layout.slots == Layout.of(model).slots
    assert all((place == torch.arange(found.layout.width)).all() for place in found.place_Cc)


HALVES: dict[str, tuple[Callable[[int], nn.Module], dict[str, int]]] = {
    "transformer": (lambda d: Transformer((5,), 7, d, 2, 1, 6), {"layers.0.project.weight": 3}),
    "gru": (lambda d: GRU((5,), 7, d, 1), {"layers.0.hidden.weight": 3, "layers.0.input.bias": 3}),
    "mcsd": (lambda d: MCSD((5,), 7, d, 2, 1, 6), {}),
}


@pytest.mark.parametrize("kind", HALVES)
def test_a_narrow_sequence_model_is_a_wide_one_with_zeros(kind: str) -> None:
    """The union row of a narrow model, with 0 everywhere else, computes the same as the narrow one,
    if no number of one gate, head or channel stands where another's is. The norms divide by the
    root of the width, and the attention by that of a head, which is put right here."""
    make, axes = HALVES[kind]
    torch.manual_seed(0)
    wide, narrow = make(16).double(), make(8).double()
    with torch.no_grad():
        narrow.get_parameter("embed.weight").mul_(1000)  # beside which the ε of a norm is nothing
    found = union(wide, narrow)
    row = torch.zeros(found.layout.width, dtype=torch.float64)
    row[found.place_Cc[1]] = Layout.of(narrow).pack(dict(narrow.named_parameters()))
    wide.load_state_dict(found.layout.state_dict(row))
    for name, gates in axes.items():
        large, small = wide.get_parameter(name), narrow.get_parameter(name)
        for one, other in zip(large.chunk(gates), small.chunk(gates), strict=True):
            assert torch.isin(other, one).all(), "each gate holds its own numbers"
    with torch.no_grad():
        for one in wide.modules():
            if type(one).__name__ == "RMSNorm":  # the mean of the squares is over twice as many
                one.gain.mul_(2**-0.5)  # type: ignore[operator, union-attr]
        if kind == "transformer":
            return  # the rotary angles of a narrow head are others
        x = torch.randint(7, (3, 5))
        torch.testing.assert_close(wide(x), narrow(x), rtol=1e-4, atol=1e-6)


def test_recurrent_layers_and_attention_of_torch_have_parts() -> None:
    module = nn.ModuleDict({"r": nn.LSTM(4, 3), "a": nn.MultiheadAttention(6, 2)})
    found = parts_of(module)
    assert found["r.weight_hh_l0"] == {0: 4}
    assert found["a.in_proj_weight"] == {0: 6}
    assert found["a.out_proj.weight"] == {1: 2}


def test_a_checkpoint_gives_every_device_its_own_module() -> None:
    large, small = GRU((5,), 7, 16, 1), GRU((5,), 7, 8, 1)
    shapes = [shape("large", large), shape("small", small)]
    found = union_of(shapes)
    row = torch.zeros(found.layout.width)
    row[found.place_Cc[1]] = Layout.of(small).pack(dict(small.named_parameters()))
    state, prefix = own_state(cohort_facts(shapes, found)[1], found.layout, row)
    assert prefix == "small/"
    small.load_state_dict(state)
    for name, values in small.named_parameters():
        torch.testing.assert_close(values.detach(), state[name], rtol=0, atol=0)


class Flat(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        ((mlp(5), mlp(5, 4)), "have different depths: the last layer of cohort0 is 3"),
        ((Flat(torch.zeros(3)), Flat(torch.zeros(3, 2))), "must have the same number of axes"),
        (
            (Transformer((5,), 7, 16, 2, 1, 6), Transformer((5,), 7, 16, 4, 1, 6)),
            "numbers of heads",
        ),
    ],
)
def test_models_that_cannot_overlap_are_refused(modules: tuple[nn.Module, ...], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        union(*modules)


def test_what_is_sent_by_one_and_kept_by_another_is_refused() -> None:
    large, small = mlp(5, 4), mlp(3, 4)
    shapes = [
        Shape("large", Layout.of(large, local=["5.weight", "5.bias"]), "5"),
        Shape("small", Layout.of(small), "5"),
    ]
    with pytest.raises(ConfigError, match="sent by one and kept by the other"):
        union_of(shapes)
    np.testing.assert_array_equal(union_of(shapes[:1]).shared_CC, [[6 * 5 + 5 + 5 * 4 + 4]])
