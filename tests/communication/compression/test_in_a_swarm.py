"""Compressors in a running swarm: the same bits however it is cut, honest bytes, and what naive
compression does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from swarm.common.rng import Keys
from swarm.communication.compression.base import Draw
from swarm.communication.protocol.base import Requirements
from swarm.communication.protocol.dpsgd import Averaging
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from tests.support import (
    config,
    experiment,
    logged,
    prepared,
    require_same_bits,
    run,
    simulation,
    trajectory,
)

CASES = {
    "top_k": ("compressor=top_k",),
    "random_k": ("compressor=random_k",),
    "random_k, unbiased": ("compressor=random_k", "compressor.unbiased=true", "compressor.feedback=false"),
    "qsgd": ("compressor=qsgd",),
    "qsgd, 4 bits, feedback": ("compressor=qsgd", "compressor.bits=4", "compressor.unbiased=false", "compressor.feedback=true"),
    "sign": ("compressor=sign",),
    "sign without feedback": ("compressor=sign", "compressor.feedback=false"),
    "low_rank": ("compressor=low_rank",),
    "neurons": ("compressor=neurons", "model=mlp", "model.hidden=[8]"),
    "float16": ("compressor=float16",),
    "float16, feedback": ("compressor=float16", "compressor.feedback=true"),
}  # fmt: skip
GOSSIP = (
    "protocol=averaging",
    "init=independent",
    "compute.dtype=float64",
    "model=softmax",
    "devices=16",
)


@pytest.mark.parametrize("case", CASES)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, case: str) -> None:
    require_same_bits(tmp_path, "devices=11", "engine.block=2", *CASES[case], rounds=4, cut=2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_bytes_are_messages_times_bits(tmp_path: Path, case: str, dtype: str) -> None:
    common = (*CASES[case], "rounds=2", "devices=9", "topology=ring", f"compute.dtype={dtype}")
    e = experiment(*common)
    assert e.communication.compressor is not None
    bits = e.communication.compressor.bits(e.model.layout.width)
    assert bits < e.model.layout.width * e.communication.number_bits
    run(tmp_path / "run", *common)
    for record in logged(tmp_path / "run")[1:]:
        assert record["messages"] == 18
        assert record["bytes"] == 18 * bits // 8


# --- what is exchanged ----------------------------------------------------------------------------


def _packets(case: str, x_NP: npt.NDArray[np.float64], round: int) -> npt.NDArray[np.float64]:
    """C of rows, as the run draws it."""
    compressor = experiment(*GOSSIP, *CASES[case]).communication.compressor
    assert compressor is not None
    sent = compressor(
        torch.as_tensor(x_NP), Draw(Keys(0, "compressor.0"), np.arange(len(x_NP)), round)
    )
    return np.asarray(sent.numpy())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("topology", ["torus", "complete", "exponential"])
def test_neighbours_get_the_packet_and_the_own_row_stays_exact(topology: str, case: str) -> None:
    """x_i⁺ = w_ii x_i + Σ_j w_ij C(x_j + e_j), e_j⁺ = x_j + e_j − C(x_j + e_j), two rounds long."""
    settings = (
        *GOSSIP,
        *CASES[case],
        f"topology={topology}",
        "rounds=2",
        "engine.shards=3",
        "engine.block=2",
    )
    e = experiment(*settings)
    assert e.communication.compressor is not None
    W = e.communication.mixing(1).matrix.toarray()
    own, others = np.diag(np.diag(W)), W - np.diag(np.diag(W))
    found = trajectory(prepared(*settings))
    x, error = found[0], np.zeros_like(found[0])
    for round in (1, 2):
        sent = _packets(case, x + error, round)
        error = x + error - sent if e.communication.compressor.feedback else error
        x = own @ x + others @ sent
        np.testing.assert_allclose(found[round], x, rtol=0, atol=1e-13)
    assert np.abs(found[1] - W @ found[0]).max() > 1e-7


@pytest.mark.parametrize("topology", ["torus", "complete"])
def test_a_protocol_that_reads_its_own_packet_takes_its_own_row_compressed(
    monkeypatch: pytest.MonkeyPatch, topology: str
) -> None:
    """x⁺ = W C(x), also on the complete graph, whose mean is formed without messages where nothing
    is compressed.
    """
    monkeypatch.setattr(Averaging, "requirements", Requirements(own_packet=True))
    settings = (*GOSSIP, f"topology={topology}", "rounds=1")
    W = experiment(*settings).communication.mixing(1).matrix.toarray()
    found = trajectory(prepared(*settings, *CASES["sign without feedback"]))
    np.testing.assert_allclose(
        found[1], W @ _packets("sign without feedback", found[0], 1), rtol=0, atol=1e-13
    )


LATE = """
import numpy as np
from swarm.communication.network.base import Delay

class OneRoundLate(Delay):
    longest = 1.0

    def seconds(self, graph, edge_S, draw_S):
        return np.ones_like(draw_S)
"""


def test_packets_under_way_stay_what_they_were(tmp_path: Path) -> None:
    """A round late: x_i⁺ = w_ii x_i + Σ_j w_ij p_j, p the packets of the round before; in round 1
    nothing arrives.
    """
    (tmp_path / "one_round_late.py").write_text(LATE)
    values = config(
        *GOSSIP, *CASES["top_k"], "topology=torus", "rounds=3", "engine.shards=2", "engine.block=3"
    )
    values["plugins"], values["delay"] = (
        [str(tmp_path / "one_round_late.py")],
        {"_target_": "one_round_late.OneRoundLate"},
    )
    found = trajectory(PreparedRun.prepare(Settings.parse(values)))
    W = experiment(*GOSSIP, "topology=torus").communication.mixing(1).matrix.toarray()
    own, others = np.diag(np.diag(W)), W - np.diag(np.diag(W))
    x, error, before = found[0], np.zeros_like(found[0]), np.zeros_like(found[0])
    for round in (1, 2, 3):
        sent = _packets("top_k", x + error, round)
        error = x + error - sent
        x, before = (x if round == 1 else own @ x + others @ before), sent
        np.testing.assert_allclose(found[round], x, rtol=0, atol=1e-13)


def test_the_compressor_of_the_page_works(tmp_path: Path) -> None:
    """docs/compression.md, "Your own"."""
    page = (Path(__file__).parents[3] / "docs/compression.md").read_text(encoding="utf-8")
    (tmp_path / "my_compressors.py").write_text(page.split("```python\n")[1].split("```")[0])
    values = config(
        "rounds=2",
        "compute.dtype=float64",
        "topology=ring",
        "protocol=averaging",
        "init=independent",
    )
    values["plugins"] = [str(tmp_path / "my_compressors.py")]
    values["compressor"] = {"_target_": "my_compressors.Rounded", "feedback": True}
    ready = PreparedRun.prepare(Settings.parse(values))
    assert (
        ready.experiment(ready.arms[0], ready.arms[0].variants[0])
        .communication.phases[0]
        .traffic(1)
        .bits
        == 8 * 4810
    )
    assert np.isfinite(trajectory(ready)).all()


def test_who_has_no_neighbour_leaves_nothing_out() -> None:
    with simulation(prepared(*GOSSIP, "topology=none", "compressor=top_k", "rounds=3")) as running:
        before = running.engine.snapshot()["x"].clone()
        for _ in running.engine.advance(3):
            pass
        after = running.engine.snapshot()
    assert torch.equal(after["x"], before)
    assert not after["wire.error.0"].any()


# --- what comes of it -----------------------------------------------------------------------------


def _spread(x_NP: npt.NDArray[np.float64]) -> float:
    """Mean distance from the mean."""
    return float(np.linalg.norm(x_NP - x_NP.mean(0), axis=1).mean())


def _gossip(*compressor: str) -> tuple[float, float]:
    """200 rounds on a torus: how far apart devices still are, and how far their mean went, in units
    of the first spread.
    """
    x_TNP = trajectory(prepared(*GOSSIP, "topology=torus", "rounds=200", *compressor))
    first, went = _spread(x_TNP[0]), x_TNP[-1].mean(0) - x_TNP[0].mean(0)
    return _spread(x_TNP[-1]) / first, float(np.linalg.norm(went)) / first


def test_half_precision_stays_within_its_error() -> None:
    """Without learning: each round adds at most 2⁻¹¹ max|x| to a coordinate, and W, whose rows sum
    to one, adds nothing.
    """
    for topology in ("torus", "small_world"):
        plain, half = (
            trajectory(prepared(*GOSSIP, f"topology={topology}", "rounds=30", *c))
            for c in ((), CASES["float16"])
        )
        largest = np.abs(plain[0]).max()
        for t in range(31):
            assert np.abs(half[t] - plain[t]).max() <= t * 2.0**-11 * largest
    distance, drift = _gossip("compressor=float16")
    assert distance < 1e-3
    assert drift < 1e-3


def test_half_precision_learns_as_well() -> None:
    """D-PSGD: learning passes errors on, on this data by less than twice over ten rounds."""
    settings = ("rounds=10", "compute.dtype=float64", "topology=torus")
    plain, half = (
        trajectory(prepared(*settings)),
        trajectory(prepared(*settings, "compressor=float16")),
    )
    for t in range(11):
        assert np.abs(half[t] - plain[t]).max() <= 2 * t * 2.0**-11 * np.abs(plain[t]).max()


def test_naive_sparse_gossip_agrees_on_a_wrong_average() -> None:
    distance, drift = _gossip("compressor=top_k", "compressor.feedback=false")
    assert distance < 1e-12
    assert drift > 0.15
    exact, kept = _gossip()
    assert max(exact, kept) < 1e-12


@pytest.mark.parametrize("name", ["top_k", "sign", "low_rank"])
def test_error_feedback_brings_the_average_nearer_but_not_the_devices_together(name: str) -> None:
    """Measured: feedback delivers everything in the end, but late, so naive gossip neither agrees
    nor keeps the mean.
    """
    _, naive = _gossip(f"compressor={name}", "compressor.feedback=false")
    distance, drift = _gossip(f"compressor={name}")
    assert drift < 0.75 * naive
    assert drift > 0.02
    assert 1e-3 < distance < 0.3
