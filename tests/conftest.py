"""What every test shares: small runs, composed the way the command line composes them."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where the key is that signs run folders with plug-ins: not the user's own place, also not in
    processes of a test.
    """
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _read_once() -> Iterator[None]:
    """What every small run reads of installed packages, and no test changes: their versions and
    scikit-learn's digits, a quarter of the run's time. Nor does it wait for the disk: no test cuts
    the power.
    """
    from swarm.data.generated import digits

    read = cache(digits._bundled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.metadata.version", cache(importlib.metadata.version))
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(digits, "_bundled", lambda: tuple(part.copy() for part in read()))
        yield


@pytest.fixture(autouse=True, scope="session")
def _quick_hydra() -> Iterator[None]:
    from tests.quick_hydra import quick_hydra

    with quick_hydra():
        yield


def pytest_configure() -> None:
    """What is imported to collect the tests stays."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What the imports and the collection made stays for good, so the garbage collector need not
    look at it again and again; nor need it look as often as Python does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """A test that leaves its engine running must not leave the next one with an arithmetic without
    denormals.
    """
    import torch

    yield
    torch.set_flush_denormal(False)


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration that ``python run_swarm.py OVERRIDES`` would run, as a plain mapping."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from swarm.common.system import paths

    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        return dict(
            OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
        )  # type: ignore[arg-type]


SMALL = ("devices=12", "rounds=4", "optimizer.lr=0.1", "tracker=none", "scenario.arms=[swarm]", "evaluate.every=1",
         "checkpoint.every=1", "train.batch=8", "train.local_steps=2", "report=false")  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run a small swarm with overrides and return its summary; ``name`` is its folder below the
    test's own.
    """

    def go(*overrides: str, name: str = "run") -> dict[str, Any]:
        import swarm

        swarm.run(composed(*SMALL, *overrides), tmp_path / name)
        return dict(json.loads((tmp_path / name / "summary.json").read_text()))

    return go
