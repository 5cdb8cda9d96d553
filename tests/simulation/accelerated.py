"""A run on an accelerator: nothing is read from, or joined with, the memory of the wrong device.

The accelerator is pretended (:mod:`tests.accelerator`); its numbers are computed by the CPU, so
that a run must end with the bits of the same run on the CPU.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

import swarm.simulation.experiment.experiment as experiment
from swarm.communication.routing import Route
from swarm.simulation.engine.base import prepare_process
from tests.accelerator import accelerator
from tests.support import final_rows, logged, prepared, run

DEVICE = accelerator()
pytestmark = pytest.mark.skipif(DEVICE is None, reason="needs torch 2.10")


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """``compute.device=cuda`` is the pretended accelerator."""
    usual = experiment._device
    monkeypatch.setattr(
        experiment, "_device", lambda name: DEVICE if name == "cuda" else usual(name)
    )


@pytest.mark.parametrize(
    "settings",
    [
        ("engine.shards=2", "compressor=qsgd", "delay=exponential", "clock=poisson", "optimizer=adam", "train.clip_norm=1"),
        ("data.flat=false", "model=cnn", "augment=[flip,crop]", "topology=complete"),
        ("aggregator=trimmed_mean", "init=independent", "transforms=[clip,noise]", "network.drop=0.2"),
        ("protocol=relay_sgd", "topology=ring"),
        ("protocol=delta_sharing",),
        ("protocol=scaffold", "topology=none"),
        ("update=online", "replay=class_balanced", "labels=meetings"),
    ],
    ids=lambda settings: settings[0],
)  # fmt: skip
def test_rounds_end_with_the_bits_of_the_cpu(settings: tuple[str, ...]) -> None:
    here, there = (
        final_rows(prepared(*settings, "rounds=2", f"compute.device={name}"))
        for name in ("cpu", "cuda")
    )
    np.testing.assert_array_equal(there, here)


def test_a_whole_run_does_with_evaluations_and_checkpoints(tmp_path: Path) -> None:
    more = ("rounds=2", "data.local_test=0.2", "metrics=[standard,auc]", "checkpoint.every=1")
    more = (*more, "optimizer.lr=auto", "lr_search.lrs=[0.1,0.3]", "lr_search.rounds=1")
    here, there = (
        run(tmp_path / name, *more, f"compute.device={name}")["arms"]["swarm"]["params_sha256"]
        for name in ("cpu", "cuda")
    )
    assert there == here
    assert logged(tmp_path / "cuda") == logged(tmp_path / "cpu")


def test_what_a_device_hears_is_added_in_the_same_order_as_on_the_cpu() -> None:
    drawn, none = np.random.default_rng(0), np.zeros(0, np.int64)
    matrix = drawn.random((40, 30)) * (drawn.random((40, 30)) < np.linspace(0, 1, 40)[:, None])
    rows = torch.as_tensor(drawn.normal(size=(30, 50)).astype(np.float32))
    route = Route(
        sparse.csr_array(matrix.astype(np.float32)),
        none,
        none,
        {},
        {},
        none,
        None,
        None,
        none,
        none,
    )
    there = route.product(rows.to(DEVICE))
    assert there.device == DEVICE
    assert torch.equal(there.cpu(), route.product(rows))


def test_the_benchmark_finds_equal_bits_in_any_number_of_shards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    gpu = importlib.import_module("gpu")
    case = "perceptrons, a small world"
    monkeypatch.setattr(gpu, "CASES", {case: gpu.CASES[case]})
    monkeypatch.setattr(gpu, "SPEED", {})
    assert gpu.main(["--device", "cpu", "--small", "--only", "bits"]) == 0
    assert "equal" in capsys.readouterr().out


def test_sums_of_a_graphics_card_are_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    try:
        prepare_process()
        assert not torch.are_deterministic_algorithms_enabled()
        prepare_process(torch.device("cuda"))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.set_flush_denormal(False)
