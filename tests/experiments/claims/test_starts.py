"""Runs of a claim that start from the models of other runs of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import swarm
from swarm.learning.model_compression import prune_neurons
from swarm.learning.models.dense import MLP
from tests.cli.conftest import Command

from .conftest import HERE, TINY, facts, hashes, stamps
from .starting import LARGE, MOOD, SMALL

WORDS = tuple(
    {"scenario=tiny": "scenario=starting", f"plugins=[{HERE / 'tiny.py'}]":
     f"plugins=[{HERE / 'starting.py'}]"}.get(word, word)
    for word in TINY
)  # fmt: skip
Starting = Callable[..., Any]


@pytest.fixture
def starting(command: Command) -> Starting:
    return lambda *words, folder="c": command(*WORDS, f"hydra.run.dir={folder}", *words)


def name(model: str, seed: int) -> str:
    return f"model={model},seed={seed}"


def states(model: str, seed: int, device: int) -> dict[str, torch.Tensor]:
    run = swarm.load(Path("c/runs") / name(model, seed))
    assert isinstance(run, swarm.LoadedRun)
    return run.state_dict("swarm", device)


def test_a_run_starts_from_what_is_made_of_another_of_its_seed(
    starting: Starting, command: Command
) -> None:
    done = starting()
    assert (done.code, done.err) == (0, "")
    for seed in (0, 1):
        whole = states("large", seed, 2)
        expected = prune_neurons(whole, MLP((64,), 10, [LARGE]), [SMALL])
        for device in (0, 3):  # all devices start from the one model
            found = states("pruned", seed, device)
            assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert not torch.equal(states("pruned", 0, 0)["1.bias"], states("pruned", 1, 0)["1.bias"])
    assert not torch.equal(states("pruned", 0, 0)["1.bias"], states("learnt", 0, 0)["1.bias"])

    # finished runs are kept, and one that is missing comes to the same numbers
    came_to, before = hashes(), stamps()
    Path("c/summary.json").unlink()
    shutil.rmtree(Path("c/runs") / name("learnt", 1))
    again = command(f"resume={Path('c').resolve()}")  # the folder by another path
    assert (again.code, again.err) == (0, "")
    assert hashes() == came_to
    kept = {key for key, stamp in stamps().items() if stamp == before[key]}
    assert kept == before.keys() - {name("learnt", 1)}

    # a run that began from another model than the one that there is now is run anew
    Path("c/summary.json").unlink()
    file = Path("c/starts") / f"{name('pruned', 0)}.safetensors"
    save_file({key: value + 1 for key, value in load_file(file).items()}, file)
    done = command("resume=c")
    assert (done.code, hashes()) == (0, came_to)
    assert [path.name.split("-")[0] for path in Path("c/superseded").iterdir()] == [
        name("pruned", 0)
    ]


def test_a_model_that_cannot_be_made_is_a_failure_of_its_run(
    starting: Starting, command: Command
) -> None:
    Path(MOOD).touch()
    done = starting("scenario.quick.seeds=1")
    assert done.code == 1
    failed = facts()["failed"]
    assert failed.keys() == {name(model, 0) for model in ("pruned", "learnt")}
    for cause in failed.values():
        assert cause.startswith("has no model to start from: plugins=")
        assert "its pruned raises ValueError: not my day" in cause
    assert facts()["verdicts"][0]["verdict"] == "undecided"
    Path(MOOD).unlink()
    assert command("resume=c").code == 0
    assert facts()["verdicts"][0]["verdict"] == "indicates yes"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("scenario.quick.source=larger", "which no condition without a start has"),
        ("scenario.quick.source=pruned", "which no condition without a start has"),
        ("scenario.quick.init=independent", "both an init and a start"),
    ],
)
def test_what_nothing_can_start_from_is_refused(starting: Starting, word: str, said: str) -> None:
    done = starting(word)
    assert (done.code, said in done.err, done.err.count("\n")) == (2, True, 1), done.err
    assert not Path("c").exists()
