"""The rule of the other half of claim 14 on results made up for it, its worlds, and its base."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scenarios.quantised import (
    ADAPTER,
    ALL,
    FEW,
    NEAREST,
    NOTHING,
    STOCHASTIC,
    WORLDS,
    LaterDigits,
    OnTrained,
    Trained,
    trained_before,
)
from swarm.common.errors import ConfigError
from swarm.learning.kernels.module import initialised
from swarm.learning.model_compression.quantised import PLAIN, packed_bytes, quantised
from tests.scenarios.made_up import Value, claim, judged, noise, results


def test_the_worlds_are_changed_ones_of_the_same_digits() -> None:
    before, labels, turned = (
        LaterDigits(4, 50, seed=3, world=world).load() for world in ("before", "labels", "turned")
    )
    assert np.array_equal(before.x, labels.x)
    assert np.array_equal(before.y, turned.y)
    image = before.x[before.test[0]].reshape(8, 8)
    assert np.array_equal(turned.x[before.test[0]].reshape(8, 8), np.rot90(image))
    new = {int(old): int(y) for old, y in zip(before.y, labels.y, strict=True)}
    assert sum(old != label for old, label in new.items()) == 4
    assert all(new[label] == old for old, label in new.items())  # pairs
    other = LaterDigits(4, 50, seed=4, world="before").load()
    held_out = [each.x[each.test] for each in (before, other)]
    assert np.array_equal(*held_out)  # the base has seen none of them under any seed
    assert not np.array_equal(before.x[before.train], other.x[other.train])


def test_all_devices_are_given_one_base_that_knows_the_world_before() -> None:
    free, few = (
        initialised(lambda kind=kind: kind((64,), 10), 5)
        for kind in (Trained, lambda *a: OnTrained(*a, bits=4))
    )
    for name, value in free.state_dict().items():
        expected = quantised(value, 4, 64) if value.dim() > 1 else value
        assert torch.equal(few.state_dict()[f"base.{name}"], expected)
    data = LaterDigits(4, 15, world="before").load()
    x, y = torch.as_tensor(data.x[data.test]), torch.as_tensor(data.y[data.test])
    assert (free(x).argmax(1) == y).float().mean() > 0.93
    assert trained_before.cache_info().currsize == 1
    assert few.frozen_bytes() == packed_bytes(4096, 4, 64) + packed_bytes(640, 4, 64) + 4 * 74


@pytest.mark.parametrize("bits", [[32, 8], [4, 2], [32, 4, 3]])
def test_the_bits_that_are_judged_are_tried(bits: list[int]) -> None:
    of = claim("quantised")
    of.budget = of.budget.model_copy(update={"bits": bits})
    with pytest.raises(ConfigError, match=r"full.bits=\[.*\]: must be 32 and 4"):
        of.conditions()


def reached(
    lost: dict[str, float], gained: dict[tuple[str, str], float], wide: float = 0.0
) -> Value:
    """Float32 reaches 0.9, 4 bits that learn nothing 0.5."""

    def value(values: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
        world, learns, bits = values["world"], values["learns"], values["bits"]
        found = {ALL: 0.9, NOTHING: 0.5, ADAPTER: 0.9 - lost.get(world, 0.0)}.get(learns, 0.8)
        if bits == FEW and learns in (NEAREST, STOCHASTIC):
            found = 0.5 + gained.get((learns, world), 0.0)
        spread = wide * (seed - 2) if bits == FEW and learns != NOTHING else 0.0
        return {
            "accuracy_mean": found + noise(seed) + spread,
            "bytes_total": 1e6,
            "flops_total": 1e9,
            "parameters": 1616 if learns == ADAPTER else 4810,
            "frozen_bytes": 0 if learns == ALL else 4 * 4810 if bits == PLAIN else 3000,
        }

    return value


BOTH = dict.fromkeys(WORLDS, 0.02)


@pytest.mark.parametrize(
    ("lost", "gained", "wide", "holds"),
    [
        ({}, {}, 0.0, [True, True]),
        ({"labels": 0.005, "turned": 0.005}, {}, 0.0, [True, True]),
        ({"turned": 0.02}, {(NEAREST, "labels"): 0.02}, 0.0, [False, False]),
        ({"labels": 0.02}, {(STOCHASTIC, "turned"): 0.3}, 0.0, [False, False]),
        (BOTH, {(NEAREST, "turned"): -0.1}, 0.0, [False, True]),
        ({}, {}, 0.03, [None, None]),
    ],
)
def test_the_rule_is_that_of_the_text(
    lost: dict[str, float],
    gained: dict[tuple[str, str], float],
    wide: float,
    holds: list[bool | None],
) -> None:
    of = claim("quantised")
    verdicts = of.conclude(results(of, reached(lost, gained, wide)))
    assert [each.holds for each in verdicts] == holds
    assert set(verdicts[0].figures) == set(WORLDS)
    assert len(verdicts[1].figures) == 4


def test_its_table_says_what_a_device_stores() -> None:
    of = claim("quantised")
    found = results(of, reached({}, {}))
    judged(of, found)
    table = of.table(found).set_index(["world", "learns", "bits", "arm"])
    stored = table["model, bytes"]
    assert stored["labels", ADAPTER, FEW, "swarm"] == f"{4 * 1616 + 3000:,}"
    assert stored["labels", NOTHING, FEW, "swarm"] == "3,000"
    assert stored["labels", ALL, PLAIN, "isolated"] == f"{4 * 4810:,}"
    in_bits = 4096 // 2 + 64 * 8 + 640 // 2 + 10 * 8 + 64 // 2 + 8 + 5 + 8
    assert stored["labels", STOCHASTIC, FEW, "swarm"] == f"{in_bits:,}"
