"""The tiny claim on a command line, and one judged for all tests that only look."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm.common.system import paths
from swarm.results.schemas import closing
from tests.cli.conftest import Command, command  # noqa: F401  the fixture

HERE = Path(__file__).parent
TINY = (
    "--config-dir",
    str(HERE / "conf"),
    "scenario=tiny",
    f"plugins=[{HERE / 'tiny.py'}]",
    "tracker=none",
)


def facts(folder: str | Path = "c") -> dict[str, Any]:
    """The ``summary.json`` of a claim or of a run."""
    return dict(json.loads(Path(folder, "summary.json").read_text()))


def rewrite(folder: str | Path, summary: dict[str, Any]) -> None:
    """Another ``summary.json``, sealed as a run of that outcome would have it."""
    unsealed = {key: value for key, value in summary.items() if key != "seal"}
    Path(folder, "summary.json").write_text(json.dumps(closing(unsealed)))


def hashes(folder: str | Path = "c") -> dict[str, str]:
    """The parameters that every run of a claim came to."""
    return {
        run.parent.name: json.loads(run.read_text())["arms"]["swarm"]["params_sha256"]
        for run in sorted(Path(folder).glob("runs/*/summary.json"))
    }


def stamps(folder: str | Path = "c") -> dict[str, int]:
    """When each run was closed: unchanged for those that were not run again."""
    return {
        run.parent.name: run.stat().st_mtime_ns for run in Path(folder).glob("runs/*/summary.json")
    }


Tiny = Callable[..., Any]


@pytest.fixture
def tiny(command: Command) -> Tiny:  # noqa: F811
    """Judge the tiny claim in ``c``, or with ``folder=``."""
    return lambda *words, folder="c": command(*TINY, f"hydra.run.dir={folder}", *words)


def judged_in(home: Path, *words: str) -> Path:
    """The tiny claim judged in this process, without a fixture's folder: ``home/c``."""
    from swarm.cli.main import main

    before = Path.cwd()
    os.chdir(home)
    try:
        assert main([*TINY, "hydra.run.dir=c", *words]) == 0
    finally:
        os.chdir(before)
    return home / "c"


@pytest.fixture(scope="session")
def _judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_in(tmp_path_factory.mktemp("judged"), "scenario.quick.foretold=[star]")


@pytest.fixture
def judged(_judged: Path, command: Command) -> Path:  # noqa: F811
    """``c``: a finished claim of two conditions before and one after its prediction, two seeds."""
    shutil.copytree(_judged, "c")
    return Path("c")


@pytest.fixture
def ours(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``c`` as if the tiny claim stood in ``scenarios/``: a report imports that, and no plug-in."""
    paths.scenarios()
    paths.load_module("scenarios.tiny", HERE / "tiny.py")
    config = yaml.safe_load((judged / "config.yaml").read_text())
    config["scenario"]["_target_"] = "scenarios.tiny.Tiny"
    (judged / "config.yaml").write_text(yaml.safe_dump(config | {"plugins": []}, sort_keys=False))
