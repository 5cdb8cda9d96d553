"""What every topology, protocol and model of conf/ promises beyond the checks of its kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from tests.contracts.needs import needs
from tests.support import config, options, records, simulation, trajectory

# --- topologies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("topology"))
def test_mixing_conserves_what_it_says(tmp_path: Path, name: str) -> None:
    """Rows sum to one, nothing is negative; where columns do too, the engine keeps the mean over
    two rounds.
    """
    ready = PreparedRun.prepare(
        Settings.parse(
            config(f"topology={name}", *needs("topology", name, tmp_path), "protocol=averaging", "init=independent",
                   "compute.dtype=float64", "rounds=2", "model=softmax")
        )
    )  # fmt: skip
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    both = True
    for round in (1, 2):
        mixing = e.communication.mixing(round)
        W = mixing.matrix.toarray()
        assert W.min() >= 0
        assert W.diagonal().min() > 0
        np.testing.assert_allclose(W.sum(1), 1, atol=1e-12)
        assert set(zip(*np.nonzero(W - np.diag(W.diagonal())), strict=True)) == set(
            zip(e.communication.graph(round).dst_E, e.communication.graph(round).src_E, strict=True)
        )
        if not e.communication.graph(round).directed:
            np.testing.assert_allclose(W, W.T, atol=1e-15)
        both = both and mixing.conserves == "both"
    x_TNP = trajectory(ready)
    assert np.isfinite(x_TNP).all()
    expected = e.communication.mixing(2).matrix @ (e.communication.mixing(1).matrix @ x_TNP[0])
    np.testing.assert_allclose(x_TNP[2], expected, rtol=0, atol=1e-14)
    if both:
        np.testing.assert_allclose(x_TNP[2].mean(0), x_TNP[0].mean(0), rtol=0, atol=1e-14)


# --- protocols ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("protocol"))
def test_protocols_are_pure_functions_of_the_rows(name: str) -> None:
    """The same start gives the same end, twice; a snapshot put back goes on the same way; nothing
    is left in scratch.
    """
    settings = [
        f"protocol={name}",
        "topology=ring",
        "rounds=4",
        "init=independent",
        "engine.shards=2",
        "engine.block=3",
        *needs("protocol", name, Path()),
    ]
    with simulation(PreparedRun.prepare(Settings.parse(config(*settings)))) as running:
        for _ in running.engine.advance(2):
            pass
        middle = {k: v.clone() for k, v in running.engine.snapshot().items()}
        ends = []
        for _ in range(2):
            for _ in running.engine.advance(4):
                pass
            ends.append({k: v.clone() for k, v in running.engine.snapshot().items()})
            running.engine.restore({k: v.clone() for k, v in middle.items()}, 2)
        assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])
        expected = running.experiment.communication.slots
        assert {f"protocol.{s}" for s in expected} <= set(middle)


@pytest.mark.parametrize("name", options("protocol"))
def test_traffic_is_counted_by_link(name: str) -> None:
    ready = PreparedRun.prepare(
        Settings.parse(
            config(f"protocol={name}", "topology=ring", "devices=9", "rounds=2", "model=softmax",
                   *needs("protocol", name, Path()))
        )
    )  # fmt: skip
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    last = records(ready)[-1].values
    graphs = [len(e.communication.graph(round).src_E) for round in (1, 2)]
    heard = [
        9 if e.communication.active(round) is None else int(e.communication.active(round).sum())
        for round in (1, 2)
    ]
    messages = bytes = 0
    protocol = e.communication.protocol
    for number, phase in enumerate(protocol.phases):
        if phase != "learn":
            a_round = [2 * n for n in heard] if phase == "server" else graphs
            sent = sum(a_round[r] for r in (0, 1) if protocol.plays(number, r + 1))
            width = e.communication.phases[number].width
            messages, bytes = messages + sent, bytes + sent * width * 4
    assert last["messages_total"] == messages
    assert last["bytes_total"] == bytes
    assert last["lost_total"] == last["late_total"] == 0


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("model"))
def test_models_start_from_the_seed(name: str, tmp_path: Path) -> None:
    def start(*overrides: str) -> np.ndarray:
        words = (f"model={name}", *needs("model", name, tmp_path), *overrides)
        ready = PreparedRun.prepare(Settings.parse(config(*words)))
        with simulation(ready) as running:
            return np.asarray(running.engine.snapshot()["x"].numpy().copy())

    common = start()
    assert (common == common[0]).all()
    np.testing.assert_array_equal(start(), common)
    assert not np.array_equal(start("seed=1"), common)
    own = start("init=independent")
    assert not np.array_equal(own[0], own[1])
    np.testing.assert_array_equal(
        start("init=independent", "engine.block=1", "engine.shards=3"), own
    )
