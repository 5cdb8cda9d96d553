"""CHOCO averages exactly with compressed messages; compressing plain gossip does not (facts: item
7).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from tests.communication.protocol.setting import (
    PARTS,
    coefficients,
    gossip,
    halved_quadratics,
    with_options,
)
from tests.support import Rows, final_rows, simulation, trajectory

ROUNDS = 600


def _top1(row_NP: Rows) -> Rows:
    keep = np.arange(row_NP.shape[1]) == np.abs(row_NP).argmax(1)[:, None]
    return np.where(keep, row_NP, 0.0)


@pytest.mark.parametrize("topology", ["ring", "complete", "star"])
def test_the_mean_stays_and_disagreement_shrinks_linearly(topology: str) -> None:
    ready = gossip("choco_gossip", f"topology={topology}", f"rounds={ROUNDS}", parts=("topk",))
    x_TNP = trajectory(ready)
    mean_P = x_TNP[0].mean(0)
    assert np.abs(x_TNP.mean(1) - mean_P).max() < 1e-12
    distance_T = np.linalg.norm(x_TNP - mean_P, axis=(1, 2))
    assert distance_T[0] > 1
    window = np.flatnonzero(
        (distance_T < 0.1 * distance_T[0]) & (distance_T > 1e-10 * distance_T[0])
    )
    assert len(window) > 50
    slopes = [
        np.polyfit(half, np.log(distance_T[half]), 1)[0] for half in np.array_split(window, 2)
    ]
    assert max(slopes) < -0.02, "as fast at the end as in the beginning: linear convergence"
    assert min(slopes) > 3 * max(slopes)


@pytest.mark.parametrize("protocol", ["averaging", "averaging with feedback"])
def test_plain_gossip_of_compressed_rows_misses_the_mean(protocol: str) -> None:
    feedback = {
        "compressor": {**PARTS["topk"]["compressor"], "feedback": protocol.endswith("feedback")}
    }
    ready = gossip("averaging", "topology=ring", f"rounds={ROUNDS}", **feedback)
    x_TNP = trajectory(ready)
    assert np.abs(x_TNP[-1] - x_TNP[0].mean(0)).max() > 0.02


def test_rounds_are_the_published_recursion_with_a_public_copy_of_every_neighbour() -> None:
    ready = gossip("choco_gossip", "topology=small_world", "rounds=20", parts=("topk",))
    _, _, W = coefficients(ready)
    x_TNP = trajectory(ready)
    x, public = x_TNP[0].copy(), np.zeros_like(x_TNP[0])
    for found in x_TNP[1:]:
        public = public + _top1(x - public)
        x = x + 0.2 * (W @ public - public)
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-13)


def test_the_sum_that_is_kept_is_that_of_the_public_rows() -> None:
    with simulation(gossip("choco_gossip", "topology=ring", parts=("topk",))) as running:
        W = torch.as_tensor(running.experiment.communication.mixing(1).matrix.toarray())
        for _ in running.engine.advance(40):
            at = running.engine.snapshot()
            assert float((W @ at["protocol.public"] - at["protocol.heard"]).abs().max()) < 1e-14


@pytest.mark.parametrize("topology", ["ring", "complete", "none"])
def test_without_a_compressor_and_with_gamma_one_it_is_dpsgd(topology: str) -> None:
    common = (f"topology={topology}", "init=independent")
    choco = trajectory(
        halved_quadratics("choco", 10, *common, **with_options("protocol", "choco", gamma=1.0))
    )
    np.testing.assert_allclose(
        choco, trajectory(halved_quadratics("dpsgd", 10, *common)), rtol=0, atol=1e-13
    )


def test_links_that_change_or_fail_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="must not change under ChocoSGD, which remembers each link"
    ):
        halved_quadratics("choco", 1, "topology=one_peer_exponential")
    with pytest.raises(ConfigError, match="needs a network without loss"):
        halved_quadratics("choco", 1, "topology=ring", "network.drop=0.1")
    with pytest.raises(
        ConfigError, match=r"compressor\.feedback=true: must be false with ChocoSGD"
    ):
        halved_quadratics("choco", 1, compressor={**PARTS["topk"]["compressor"], "feedback": True})
    with pytest.raises(ConfigError, match="gamma=0: must be a consensus step"):
        halved_quadratics("choco", 1, **with_options("protocol", "choco", gamma=0.0))


def test_learning_goes_where_dpsgd_goes_when_steps_are_small() -> None:
    """The compressed rows differ from one another by O(γ), like uncompressed ones."""
    ready = halved_quadratics("choco", 250, "topology=ring", parts=("topk",))
    a, b, _ = coefficients(ready)
    assert abs((a * (final_rows(ready)[:, 0] - b)).sum()) < 1e-12
