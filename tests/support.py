"""Helpers for tests that drive the real machinery (Study, Experiment, Engine) without a run folder.

Settings are the ones the command line composes; only Hydra's own work is done once and remembered,
since it costs more than a small run.
"""

from __future__ import annotations

import copy
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import swarm
from swarm.common.rows import Layout, trainable
from swarm.common.system import paths, yaml_text
from swarm.config.build import option
from swarm.config.composing.conf_files import EXPERIMENT
from swarm.config.composing.overrides import giving_way
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.kernels.kernel import Kernel
from swarm.learning.kernels.losses import Loss
from swarm.learning.learner import Batch, Learner, PredictionScores
from swarm.learning.optim.optimizer import SGD, Optimizer
from swarm.learning.optim.schedule import Constant
from swarm.results.track.jsonl import read_jsonl
from swarm.simulation.experiment import Experiment
from swarm.simulation.loop import MetricsRow, Simulation
from tests.conftest import SMALL, composed

Rows = npt.NDArray[np.float64]
TORCH_LOSS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
}


# --- settings -------------------------------------------------------------------------------------


def groups() -> list[str]:
    """The groups of conf/ whose options are plug-ins: all but the experiments."""
    return list(_groups(paths.conf()))


@cache
def _groups(conf: Path) -> list[str]:
    found = {folder.name for folder in conf.iterdir() if folder.is_dir()}
    return sorted(found - {EXPERIMENT})


def options(group: str) -> list[str]:
    """The options of one group."""
    return sorted(file.stem for file in (paths.conf() / group).glob("*.yaml"))


@cache
def _base() -> str:
    return json.dumps(composed())


@cache
def _option(conf: Path, group: str, name: str) -> str:
    return json.dumps(option(group, name))


def config(*overrides: str) -> dict[str, Any]:
    """What ``tests.conftest.composed(*SMALL, *overrides)`` gives: groups before single keys, as
    Hydra takes them.

    A key of ``SMALL`` that a chosen option does not have (``scenario.arms`` of another scenario) is
    left out.
    """
    values = dict(json.loads(_base()))
    pairs = [text.removeprefix("+").split("=", 1) for text in overrides]
    small = [text.split("=", 1) for text in SMALL]
    conf, known = paths.conf(), groups()
    chosen = [(key, value) for key, value in (*small, *pairs) if key in known]
    values |= {key: json.loads(_option(conf, key, value)) for key, value in chosen}
    for i, (key, value) in enumerate([*small, *pairs]):
        if key in known:
            continue
        *path, last = key.split(".")
        section = values
        for part in path:
            section = section[part]
        if i >= len(small) or last in section:
            section[last] = yaml_text.load(value)
    for key in giving_way(values["scenario"], {key for key, _ in pairs}):
        values["scenario"] = {**values["scenario"], key: None}
    return values


def prepared(*overrides: str) -> PreparedRun:
    """A small run, checked and ready to run."""
    return PreparedRun.prepare(Settings.parse(config(*overrides)))


def experiment(*overrides: str) -> Experiment:
    """The first arm's experiment of a small run."""
    ready = prepared(*overrides)
    return ready.experiment(ready.arms[0], ready.arms[0].variants[0])


# --- running --------------------------------------------------------------------------------------


@contextmanager
def simulation(ready: PreparedRun, arm: int = 0) -> Iterator[Simulation]:
    """The running simulation of one arm (its first variant)."""
    chosen = ready.arms[arm]
    with Simulation(ready.experiment(chosen, chosen.variants[0]), ready.engine) as running:
        yield running


def rows(running: Simulation) -> Rows:
    """All devices' parameters, ``[N, P]``."""
    return np.asarray(running.engine.snapshot()["x"].double().numpy().copy())


def trajectory(ready: PreparedRun, arm: int = 0) -> Rows:
    """Every device's parameters before and after each round: ``[rounds + 1, N, P]``."""
    with simulation(ready, arm) as running:
        found = [rows(running)]
        for _ in range(running.experiment.settings.rounds):
            for _ in running.engine.advance(running.engine.round + 1):  # type: ignore[attr-defined]
                pass
            found.append(rows(running))
    return np.stack(found)


def final_rows(ready: PreparedRun, arm: int = 0) -> Rows:
    """All devices' parameters after the last round, ``[N, P]``."""
    with simulation(ready, arm) as running:
        for _ in running.engine.advance(running.experiment.settings.rounds):
            pass
        return rows(running)


def run(folder: Path, *overrides: str, **sections: Any) -> dict[str, Any]:
    """A whole small run into ``folder``; ``sections`` replace whole sections.

    Returns its summary.
    """
    swarm.run({**config(*overrides), **sections}, folder)
    return dict(json.loads((folder / "summary.json").read_text()))


def logged(folder: Path) -> list[dict[str, Any]]:
    """The records of a run folder, without what no two runs share: times."""
    return [
        {k: v for k, v in r.items() if not k.startswith("wall_s")}
        for r in read_jsonl(folder / "metrics.jsonl")
    ]


def require_same_bits(
    folder: Path, *overrides: str, rounds: int, cut: int, **sections: Any
) -> dict[str, Any]:
    """Require that a run in one shard comes to the same bits and records as one that plays ``cut``
    rounds in five shards and, after a resume, the others in two; returns the summary."""
    one, other = folder / "one", folder / "cut"
    whole = run(one, *overrides, f"rounds={rounds}", **sections)
    run(
        other,
        *overrides,
        f"rounds={cut}",
        f"schedule.rounds={rounds}",
        "engine.shards=5",
        **sections,
    )
    resumed = swarm.resume(other, {"rounds": rounds, "engine.shards": 2}).summary
    for name, arm in whole["arms"].items():
        assert resumed["arms"][name]["params_sha256"] == arm["params_sha256"], name
    assert logged(other) == logged(one)
    return whole


def records(ready: PreparedRun, arm: int = 0) -> list[MetricsRow]:
    """The records of one arm, run to its end."""
    with simulation(ready, arm) as running:
        return list(running.records(running.experiment.settings.rounds))


# --- plain PyTorch, one device at a time ----------------------------------------------------------


def module_of(row_P: Tensor, like: nn.Module) -> nn.Module:
    """A copy of the module with these parameters."""
    made = copy.deepcopy(like)
    made.load_state_dict(Layout.of(like).state_dict(row_P), strict=False)
    return made


def row_of(module: nn.Module) -> Tensor:
    """The opposite of :func:`module_of`."""
    return torch.cat([p.detach().reshape(-1) for p in trainable(module).values()])


def plain_gradient(row_P: Tensor, like: nn.Module, x: Tensor, y: Tensor, loss: str) -> Tensor:
    """Autograd's gradient ``[P]`` of PyTorch's own mean loss at ``row_P``."""
    layout = Layout.of(like)
    leaf = row_P.clone().requires_grad_()
    parameters = {s.name: leaf[s.start : s.stop].view(s.shape) for s in layout.slots}
    # a copy: functional_call does not put shared layers back as they were
    TORCH_LOSS[loss](functional_call(copy.deepcopy(like), parameters, (x,)), y).backward()
    assert leaf.grad is not None
    return leaf.grad


# --- a block of devices, without an engine --------------------------------------------------------


def sgd(lr: float = 1.0) -> SGD:
    """Plain stochastic gradient descent."""
    return SGD(lr, Constant())


def train(
    kernel: Kernel,
    loss: Loss,
    optimizer: Optimizer,
    x_BP: Tensor,
    slots: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    outputs: int,
    *,
    lr: float = 1.0,
    clip: float | None = None,
    active: Tensor | None = None,
    done: int = 0,
) -> PredictionScores:
    """The steps of a block in place: inputs ``[B, K, b, *features]``, targets ``[B, K, b]`` or
    ``[B, K, b, T]``.
    """
    first = torch.ones(x.shape[:3], dtype=torch.bool)
    before = torch.full((len(x),), done, dtype=torch.int64)
    batch = Batch(x, loss.encode(y, outputs, x_BP.dtype), first, active, before)
    with torch.no_grad():
        learnt_BP, scores = Learner(kernel, loss, optimizer, outputs, clip, False).train(
            x_BP, slots, batch, lr
        )
        x_BP.copy_(learnt_BP)
    return scores


def predict(kernel: Kernel, x_BP: Tensor, inputs: Tensor) -> Tensor:
    """Outputs ``[B, C, b]`` of a block on inputs ``[B, b, *features]``."""
    with torch.no_grad():
        return kernel.outputs(kernel.layout.views(x_BP), inputs)


def heeds_interrupts() -> None:
    """In a child process: Ctrl-C reaches it even where these tests run in the background, which
    ignores it for all below.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
