"""The command line in this process, with the folder of the test as the place it is run from."""

from __future__ import annotations

import io
import os
import shutil
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image

import swarm.experiments
from swarm.cli.main import main
from swarm.config.settings import Settings
from swarm.experiments.sweep import tables
from swarm.experiments.sweep.picture import figure

# The words of a small sweep into ``s``.
SMALL = ("devices=9", "rounds=3", "optimizer.lr=0.1", "tracker=none", "scenario.arms=[swarm]", "evaluate.every=1",
         "checkpoint.every=1", "train.batch=8", "train.local_steps=1", "report=false", "hydra.sweep.dir=s")  # fmt: skip


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str
    new: list[str]  # files and folders it made

    @property
    def sentence(self) -> str:
        """The one line on stderr of a refusal; fails if there is anything else to see."""
        assert self.code == 2, self
        assert self.new == [], self
        assert self.err.count("\n") == 1, self
        assert self.err.startswith("error: "), self
        assert "Traceback" not in self.err, self
        return self.err.removeprefix("error: ").strip()


def _config(cfg: Any) -> Any:
    """Settings in the form in which they were composed."""
    return OmegaConf.create(cfg.model_dump()) if isinstance(cfg, Settings) else cfg


@dataclass
class FakeRunner:
    """Stands in for ``swarm.experiments.runner``: records what it is asked to do."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    raises: BaseException | None = None
    check_raises: Callable[[Any], BaseException | None] = lambda cfg: None

    def check(self, given: Any) -> Any:
        settings = getattr(given, "settings", given)
        cfg = _config(settings)
        self.calls.append(("check", cfg))
        if (error := self.check_raises(cfg)) is not None:
            raise error
        return types.SimpleNamespace(settings=settings)

    def run(self, cfg: Any, folder: Path, ready: Any = None, words: Sequence[str] = ()) -> None:
        cfg = _config(cfg)
        self.calls.append(("run", (cfg, folder)))
        self._maybe_raise()
        (folder / "config.yaml").write_text("{}")
        (folder / "summary.json").write_text('{"schema": 1, "arms": {}}')

    def resume(self, folder: Path, overrides: dict[str, Any], trust: bool = False) -> None:
        self.calls.append(("resume", (folder, overrides)))
        self._maybe_raise()

    def _maybe_raise(self) -> None:
        if self.raises is not None:
            raise self.raises

    def of(self, name: str) -> list[Any]:
        """What the calls of ``name`` were given."""
        return [given for called, given in self.calls if called == name]


Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _unpainted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture of each sweep is laid out, but not turned into pixels: a fifth of a small sweep.

    A test that looks at the file asks for the fixture ``painted``.
    """
    if "painted" in request.fixturenames:
        return

    def draw(*what: Any) -> bytes:
        figure(*what)
        Image.new("L", (1, 1)).save(pixel := io.BytesIO(), "PNG")
        return pixel.getvalue()

    monkeypatch.setattr(tables, "draw", draw)


@pytest.fixture
def painted() -> None:
    """Pictures of sweeps are painted in full."""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Run a command line: ``command("devices=3", "-m")``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWARM_DEBUG", raising=False)

    def call(*argv: str) -> Outcome:
        before = set(tmp_path.rglob("*"))
        code = main(list(argv))
        captured = capfd.readouterr()
        new = sorted(str(path.relative_to(tmp_path)) for path in set(tmp_path.rglob("*")) - before)
        return Outcome(code, captured.out, captured.err, new)

    return call


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    """A runner that does nothing, in the place of the real one."""
    fake = FakeRunner()
    module = types.ModuleType("swarm.experiments.runner")
    for name in ("check", "run", "resume"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, "swarm.experiments.runner", module)
    monkeypatch.setattr(swarm.experiments, "runner", module, raising=False)
    return fake


Swept = Callable[[int], None]


@pytest.fixture(scope="session")
def _swept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    @cache
    def finished(seeds: int) -> Path:
        home, before = tmp_path_factory.mktemp("swept"), Path.cwd()
        os.chdir(home)
        try:
            assert main(["-m", f"seed={','.join(map(str, range(seeds)))}", *SMALL]) == 0
        finally:
            os.chdir(before)
        return home / "s"

    return finished


@pytest.fixture
def swept(
    _swept: Callable[[int], Path], command: Command, capfd: pytest.CaptureFixture[str]
) -> Swept:
    """``swept(n)`` leaves in ``s`` what ``-m seed=0,…,n-1`` does: run once for all tests that begin
    with it.
    """

    def copy(seeds: int) -> None:
        shutil.copytree(_swept(seeds), "s")
        capfd.readouterr()

    return copy
