"""What is checked after a page was followed, in its reader's folder."""

from __future__ import annotations

from typing import Any

import torch

import swarm
from tests.docs.pages import blocks


def after_sequences() -> None:
    """What stands behind the end of a sequence has no part in the answer of the page's model."""
    names: dict[str, Any] = {"__name__": "__page__"}
    (block,) = [block for block in blocks("docs/data.md") if block.file == "my_sequences.py"]
    exec(block.code, names)
    sequences, _ = names["waves"](8, seed=1)
    answer = names["LastState"]((20, 2), 2)
    short, long = (torch.as_tensor(names["padded"](sequences, length)) for length in (20, 30))
    long[..., :-1] += 1 - long[..., -1:]  # other numbers than zeros
    torch.testing.assert_close(answer(short), answer(long))
    assert not torch.allclose(answer(short[:1]), answer(short[1:2]))


def after_results() -> None:
    """An offline W&B run has the accuracies of ``metrics.jsonl``."""
    (code,) = [block.code for block in blocks("docs/results.md", "python") if "wandb" in block.code]
    names: dict[str, Any] = {}
    exec(code, names)
    arm = swarm.load("outputs/logged").arm("swarm")[["round", "accuracy_mean"]].dropna()
    assert names["accuracy"] == dict(zip(arm["round"], arm["accuracy_mean"], strict=True))
    assert len(arm) > 1
