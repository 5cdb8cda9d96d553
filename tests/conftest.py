"""What every test shares: small runs, composed the way the command line composes them."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
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
def _composed_once() -> Iterator[None]:
    """Hydra's work for the same words in the same folder, a tenth of a second, is done once. No
    test changes a file of a config group between two such compositions."""
    from swarm.config.composing.compose import Composer

    real, latest = Composer.raw, OrderedDict[Any, Any]()

    def raw(self: Composer, overrides: Sequence[str], *mode: Any) -> Any:
        places = str(self.loader.get_search_path())
        key = (Path.cwd(), places, self.config_name, tuple(overrides), *mode)
        if key not in latest:
            latest[key] = real(self, overrides, *mode)
        latest.move_to_end(key)
        while len(latest) > 64:
            latest.popitem(last=False)
        return copy.deepcopy(latest[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Composer, "raw", raw)
        yield


@pytest.fixture(autouse=True, scope="session")
def _read_once_by_hydra() -> Iterator[None]:
    """Hydra reads each file of conf/, which no test changes, and of its own package once: a quarter
    of its work."""
    from hydra._internal.core_plugins.file_config_source import FileConfigSource
    from hydra._internal.core_plugins.importlib_resources_config_source import (
        ImportlibResourcesConfigSource,
    )

    conf = str(Path(__file__).parents[1] / "conf")

    def once(real: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[Any, Any] = {}

        def load(self: Any, config_path: str) -> Any:
            if self.scheme() == "file" and str(Path(self.path).absolute()) != conf:
                return real(self, config_path)
            key = (self.path, self.provider, config_path)
            if key not in known:
                known[key] = real(self, config_path)
            return dataclasses.replace(known[key], config=copy.deepcopy(known[key].config))

        return load

    with pytest.MonkeyPatch.context() as patch:
        for source in (FileConfigSource, ImportlibResourcesConfigSource):
            patch.setattr(source, "load_config", once(source.load_config))
        yield


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
