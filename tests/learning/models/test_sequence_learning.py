"""The sequence models learn what there is to learn of generated text, as devices of a swarm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import swarm
from swarm.common.rng import Keys
from swarm.learning.models.gru import GRU
from tests.support import prepared, run, simulation

TOKENS = 8
TEXT = (
    "devices=2", "data=markov", f"data.tokens={TOKENS}", "data.context=32", "data.heterogeneity=0",
    "data.concentration=0.2", "data.per_device=80", "partition=natural", "model.width=16", "topology=complete",
    "optimizer=adam", "optimizer.lr=0.01", "train.batch=8", "train.local_steps=8",
)  # fmt: skip


@pytest.mark.parametrize("model", ["gru", "mcsd", "transformer"])
def test_the_loss_falls_from_the_tokens_entropy_to_the_chains_entropy_rate(model: str) -> None:
    ready = prepared(*TEXT, f"model={model}", "rounds=12", "evaluate.every=12")
    data = ready.dataset
    share = np.bincount(data.y.ravel(), minlength=TOKENS) / data.y.size
    chain = Keys(0, "markov/common").generator().dirichlet(np.full(TOKENS, 0.2), TOKENS)
    before = np.bincount(data.x.astype(np.int64).ravel(), minlength=TOKENS) / data.x.size
    unigram = -(share * np.log(share)).sum()
    rate = -(before[:, None] * chain * np.log(np.maximum(chain, 1e-300))).sum()
    with simulation(ready) as running:
        loss = [record.values for record in running.records(12)][-1]["loss_mean"]
    assert rate - 0.1 < loss < rate + 0.1 * (unigram - rate), (rate, loss, unigram)


def test_a_trained_device_reads_token_by_token(tmp_path: Path) -> None:
    """As docs/models.md shows it."""
    folder = tmp_path / "run"
    run(folder, *TEXT, "model=gru", "rounds=2", "scenario.arms=[swarm]")
    model = GRU(features=(32,), outputs=TOKENS, width=16, depth=1)
    model.load_state_dict(swarm.load(folder).state_dict("swarm", device=1))
    text = torch.tensor([[3, 1, 4, 1, 5]])
    state = model.empty(1)
    with torch.no_grad():
        for token in text.unbind(1):
            scores, state = model.step(token, state)
        torch.testing.assert_close(scores, model(text)[:, -1])
