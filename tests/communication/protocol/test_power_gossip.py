"""PowerGossip: the mean stays, rank-one differences are averaged exactly, and everybody agrees
(arXiv 2008.01425).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.simulation.experiment import Experiment
from tests.communication.protocol.swarms import planned
from tests.support import experiment, prepared, simulation, trajectory

STILL = {"_target_": "still.StillPower"}
COMMON = (
    "devices=12",
    "init=independent",
    "data=gaussian",
    "data.classes=4",
    "data.features=6",
    "model.hidden=[9]",
)


@pytest.mark.parametrize("topology", ["ring", "star", "torus"])
def test_the_mean_stays_and_the_distance_goes(topology: str) -> None:
    x_TNP = trajectory(planned(*COMMON, f"topology={topology}", "rounds=150", protocol=STILL))
    mean_P = x_TNP[0].mean(0)
    assert np.abs(x_TNP.mean(1) - mean_P).max() < 1e-12
    distance_T = np.linalg.norm(x_TNP - mean_P, axis=(1, 2))
    assert (np.diff(distance_T[distance_T > 1e-10]) < 0).all(), (
        "projections of the differences: never farther"
    )
    assert distance_T[-1] < 0.1 * distance_T[0]


def _experiment_and_end(topology: str) -> tuple[Experiment, np.ndarray, np.ndarray]:
    """One round from models whose matrices are multiples of one rank-one matrix each; vectors are
    arbitrary.
    """
    ready = planned(*COMMON, f"topology={topology}", protocol=STILL)
    with simulation(ready) as running:
        random = np.random.default_rng(0)
        start = running.engine.snapshot()
        parts = []
        for slot in running.experiment.model.layout.slots:
            one = random.standard_normal((slot.shape[0], 1))
            other = random.standard_normal((1, int(np.prod(slot.shape[1:]))))
            like = (one * other).ravel() * random.standard_normal((12, 1))
            parts.append(
                like if len(slot.shape) > 1 else random.standard_normal((12, slot.shape[0]))
            )
        x = np.concatenate(parts, 1)
        running.engine.restore({**start, "x": torch.as_tensor(x)}, 0)
        for _ in running.engine.advance(1):
            pass
        return running.experiment, x, running.engine.snapshot()["x"].numpy().copy()


@pytest.mark.parametrize("topology", ["ring", "star", "torus", "erdos_renyi"])
def test_rank_one_differences_are_averaged_exactly(topology: str) -> None:
    """One step of power iteration finds a matrix of rank one whatever it starts from: a round is x
    ← Wx.
    """
    e, before, after = _experiment_and_end(topology)
    np.testing.assert_allclose(after, e.communication.mixing(1).matrix @ before, rtol=0, atol=1e-12)


def _first_q(*overrides: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The first q of every link, and the ids of the neighbours."""
    ready = planned(*COMMON[:1], *COMMON[2:], "topology=torus", *overrides, protocol=STILL)
    with simulation(ready) as running:
        assert running.experiment.communication.links is not None
        return running.engine.snapshot()["protocol.q"].clone(), torch.as_tensor(
            running.experiment.communication.links[0]
        )


def test_both_ends_of_a_link_start_alike_and_every_seed_and_link_differs() -> None:
    q_NdM, ids_Nd = _first_q()
    links = {(i, int(j)): q_NdM[i, d] for i in range(12) for d, j in enumerate(ids_Nd[i]) if j >= 0}
    for (i, j), q in links.items():
        assert torch.equal(q, links[j, i])
    once = torch.stack([q for (i, j), q in links.items() if i < j])
    assert len(once.unique(dim=0)) == len(once), "no two links have the same"
    assert once.mean().abs() < 0.1
    assert once.std() == pytest.approx(1, abs=0.1)
    other, _ = _first_q("seed=1")
    assert not torch.isclose(q_NdM, other).any(), "another seed, other numbers"
    assert torch.equal(_first_q("engine.block=2", "engine.shards=3")[0], q_NdM)


def test_only_vectors_travel() -> None:
    """A matrix of m × n costs m + n numbers a link and round, a vector of m costs m + 1."""
    e = experiment("protocol=power_gossip", "topology=ring", "model=mlp", "model.hidden=[32]")
    shapes = [slot.shape for slot in e.model.layout.slots]
    assert shapes == [(32, 64), (32,), (10, 32), (10,)]
    numbers = [e.communication.protocol.width(phase, e.model.layout.width) for phase in (1, 2)]
    assert numbers == [32 + 32 + 10 + 10, 64 + 1 + 32 + 1]
    assert [e.communication.phases[phase].traffic(1).bits for phase in (1, 2)] == [
        32 * n for n in numbers
    ]
    assert e.model.layout.width > 13 * sum(numbers)


def test_devices_that_agree_stay() -> None:
    """Nothing is to be normalised where the difference is zero; and what is remembered of the link
    is not lost.
    """
    ready = planned(*COMMON[:1], *COMMON[2:], "init=common", "topology=ring", protocol=STILL)
    with simulation(ready) as running:
        before = running.engine.snapshot()
        for _ in running.engine.advance(3):
            pass
        after = running.engine.snapshot()
    assert all(torch.equal(before[name], after[name]) for name in ("x", "protocol.q"))
    assert (after["protocol.q"] != 0).all()


def test_devices_without_links_learn_alone() -> None:
    found, alone = (
        trajectory(prepared("topology=none", f"protocol={p}")) for p in ("power_gossip", "none")
    )
    np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("topology=exponential", "undirected"),
        ("network.drop=0.1", "without loss"),
        ("mixing=uniform", "conserves the row"),
    ],
)
def test_what_it_cannot_work_with_is_refused(setting: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        prepared("protocol=power_gossip", "topology=star", setting)


@pytest.mark.parametrize("protocol", ["power_gossip", "relay_sgd"])
def test_a_star_too_large_for_memory_is_refused(protocol: str) -> None:
    """Slots are [N, most links, …]: for 60,000 around one, tens of terabytes.

    Nothing of the sort is allocated.
    """
    with pytest.raises(
        ConfigError,
        match=r"topology=star: would need about [\d,.]+ [GM]iB, as .* memory for every link",
    ):
        prepared(f"protocol={protocol}", "topology=star", "devices=60000", "data=gaussian", "data.per_device=4",
                 "data.features=2", "data.classes=2", "model=softmax", "partition=iid")  # fmt: skip
