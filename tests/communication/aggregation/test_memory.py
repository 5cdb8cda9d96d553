"""Reputation with a memory: what a device thinks of its neighbours over rounds, and its bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.base import Draws
from swarm.communication.aggregation.reputation import Reputation
from swarm.communication.aggregation.stack import Stack
from tests.support import prepared, require_same_bits, simulation

OWN = ("aggregator=reputation", "data.local_validation=0.3", "partition=iid", "devices=9")


def test_a_worth_is_the_exponential_mean_of_what_was_thought() -> None:
    """One device, and the neighbours 4 and 2, of which 2 was never heard before."""
    rule, memory_GN = Reputation(power=1.0, memory=0.75), torch.zeros(1, 6, dtype=torch.float64)
    memory_GN[0, 4] = 1 + 0.2
    rows_nGM = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]], dtype=torch.float64)[:, None]
    stack = Stack(
        rows_nGM,
        rows_nGM[0],
        torch.full((3, 1), 0.25, dtype=torch.float64),
        0,
        np.array([0]),
        np.array([[1.0], [1.0], [2.0]]),
        Draws(),
        sender_nG=np.array([[0], [4], [2]]),
        memory_GN=memory_GN,
    )
    four, two = 0.75 * 0.2 + 0.25 * 1.0, 0.5
    found = rule.combine_stack(stack)
    torch.testing.assert_close(found, torch.tensor([[2 * four, 2 * two]], dtype=torch.float64))
    expected = torch.tensor([[0, 0, 1 + two, 0, 1 + four, 0]], dtype=torch.float64)
    torch.testing.assert_close(memory_GN, expected)


@pytest.mark.parametrize("network", [(), ("topology=epidemic", "network.drop=0.3")])
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, network: tuple[str, ...]) -> None:
    words = (*OWN, "aggregator.memory=0.9", "topology=torus", *network, "engine.block=2")
    require_same_bits(tmp_path, *words, rounds=4, cut=2)


def test_it_remembers_those_that_it_hears_and_nobody_else() -> None:
    with simulation(
        prepared(*OWN, "aggregator.memory=0.5", "topology=ring", "rounds=2")
    ) as running:
        for _ in running.engine.advance(2):
            pass
        memory = running.engine.snapshot()["wire.aggregator.1"]
    ring = np.abs(np.subtract.outer(np.arange(9), np.arange(9))) % 7 == 1
    assert ((memory.numpy() > 0) == ring).all()


@pytest.mark.parametrize("memory", [-0.1, 1.0])
def test_a_memory_that_never_learns_is_refused(memory: float) -> None:
    with pytest.raises(ConfigError, match=r"memory=.*from 0, which is no memory, to below 1"):
        Reputation(memory=memory)
