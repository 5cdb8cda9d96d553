"""What a device writes: its own probabilities, in characters of its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import swarm
from swarm.common.errors import ConfigError
from swarm.data.dataset import Dataset
from swarm.data.tokens.base import Characters
from swarm.experiments.loading import LoadedRun
from swarm.experiments.writing import written
from swarm.learning.models.gru import GRU
from swarm.learning.models.transformer import Transformer

TEXT = Dataset(
    np.zeros((1, 4), np.float32), np.zeros((1, 4), np.int64), 4, None, *[np.zeros(1, np.int64)] * 3,
    tokens=Characters("abc"),
)  # fmt: skip


def model(logits: list[float]) -> GRU:
    """One that predicts the same after anything."""
    found = GRU((4,), 4, width=8, depth=1)
    with torch.no_grad():
        found.head.weight.zero_()
        found.head.bias.copy_(torch.tensor(logits))
    return found


def test_characters_are_drawn_as_they_are_predicted() -> None:
    share = np.array([0.5, 0.3, 0.2])
    logits = [*np.log(share), 5.0]  # the class of all other characters is never written
    text = written(model(logits), TEXT, "a", 4000, 1.0, 0)
    assert np.array([text.count(each) / 4000 for each in "abc"]) == pytest.approx(share, abs=0.03)
    cold = share**2 / (share**2).sum()
    text = written(model(logits), TEXT, "a", 4000, 0.5, 0)
    assert np.array([text.count(each) / 4000 for each in "abc"]) == pytest.approx(cold, abs=0.03)
    assert {written(model(logits), TEXT, "a", 5, t, 0) for t in (0, 1e-308)} == {"aaaaa"}
    again, other = (written(model(logits), TEXT, "a", 4000, 0.5, seed) for seed in (0, 1))
    assert again == text != other


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [(GRU, {"depth": 2}), (Transformer, {"depth": 2, "heads": 2, "hidden": 8})],
)
def test_it_goes_on_as_whole_sequences_are_predicted(
    kind: Callable[..., nn.Module], sizes: dict[str, int]
) -> None:
    torch.manual_seed(0)
    made = kind((4,), 4, width=8, **sizes)
    said = written(made, TEXT, "abca", 6, 0, 0)
    tokens = torch.tensor([["abc".index(each) for each in "abca" + said]])
    logits: Tensor = made(tokens)[0, :, :3]
    assert said == "".join("abc"[each] for each in logits[3:-1].argmax(1))


def test_a_device_writes_what_it_has_learnt(tmp_path: Path) -> None:
    pd.DataFrame({"owner": [0, 1], "text": ["abc" * 100, "acb" * 100]}).to_parquet(
        tmp_path / "text.parquet"
    )
    run = swarm.run(
        overrides=[
            "data=text",
            f"data.path={tmp_path / 'text.parquet'}",
            "data.context=8",
            "data.min_chars=100",
            "partition=natural",
            "devices=2",
            "topology=none",
            "protocol=none",
            "model=gru",
            "model.width=16",
            "rounds=20",
            "optimizer.lr=1.0",
            "train.batch=4",
            "tracker=none",
            "report=false",
            "evaluate.every=20",
            "scenario.arms=[swarm]",
            "personal=ditto",
            "personal.strength=0.5",
        ],
        folder=tmp_path / "run",
    )
    found = swarm.load(run.folder)
    assert isinstance(found, LoadedRun)
    assert found.write("swarm", "0", "ab", 6, 0) == "cabcab"
    assert found.write("swarm", "1", "ac", 6, 0) == "bacbac"
    assert len(found.write("swarm", "1")) == 200
    shared, own = (found.write("swarm", "1", "", 99, 4.0, own=own) for own in (False, True))
    assert own != shared


@pytest.mark.parametrize(
    ("prompt", "length", "temperature", "said"),
    [
        ("aé", 5, 1.0, "prompt=é: must be a character that the run tells apart"),
        ("a", 0, 1.0, "length=0"),
        ("a", 5, -1.0, "temperature=-1:"),
        ("a", 5, float("nan"), "temperature=nan"),
    ],
)
def test_what_it_cannot_go_on_with_is_said(
    prompt: str, length: int, temperature: float, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        written(model([0.0] * 4), TEXT, prompt, length, temperature, 0)


def test_only_models_of_text_write() -> None:
    with pytest.raises(ConfigError, match="must be text"):
        written(model([0.0] * 4), replace(TEXT, tokens=None), "a", 5, 1.0, 0)
    with pytest.raises(ConfigError, match="predict=every"):
        written(nn.Linear(4, 4), TEXT, "a", 5, 1.0, 0)
