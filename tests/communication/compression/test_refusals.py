"""What a compressor cannot do is said in one sentence, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.cli.main import main
from swarm.communication.protocol.base import Requirements
from swarm.communication.protocol.dpsgd import Averaging
from tests.support import experiment

REFUSED = {
    "compressor=top_k compressor.fraction=0": "compressor.fraction=0: must be above 0 and at most 1",
    "compressor=top_k compressor.fraction=1.5": "compressor.fraction=1.5: must be above 0 and at most 1",
    "compressor=random_k compressor.fraction=-1": "compressor.fraction=-1: must be above 0 and at most 1",
    "compressor=random_k compressor.unbiased=true": "compressor.unbiased=true: must be false with feedback=true",
    "compressor=qsgd compressor.bits=3": "compressor.bits=3: must be 8, 4 or 2",
    "compressor=qsgd compressor.bucket=0": "compressor.bucket=0: must be null (one norm a row)",
    "compressor=qsgd compressor.feedback=true": "compressor.unbiased=true: must be false with feedback=true",
    "compressor=low_rank compressor.rank=0": "compressor.rank=0: must lie in 1 … 10: ",
    "compressor=low_rank compressor.rank=11": "compressor.rank=11: must lie in 1 … 10: ",
    "compressor=low_rank model=softmax data=linear_regression partition=iid":
        "compressor.rank=2: finds no matrix in this model",
    "compressor=sign protocol=fedavg": "compressor=sign: must be none with FedAvg, which sends through a server",
    "compressor=sign protocol=gossip_learning": "compressor=sign: must be none with GossipLearning, which needs the exact ",
    "compressor=neurons compressor.share=0": "compressor.share=0: must be above 0 and at most 1",
    "compressor=neurons compressor.share=1.2": "compressor.share=1.2: must be above 0 and at most 1",
    "compressor=neurons model=softmax": "compressor.share=0.25: finds no hidden neurons that this model states",
    "compressor=neurons model=gru data=markov partition=natural": "compressor.share=0.25: finds no hidden neurons",
    "model=selective model.active=0": "model.active=0: must be above 0 and at most 1",
    "model=selective model.group=7": "model.group=7: must be a number ≥ 1 that divides every width of hidden=[64]",
    "model=selective model.select=best": "model.select=best: must be",
    "init=independent protocol=fedadam": "init=independent: must be common (or a file) with FedAdam",
    "compressor=sign compressor.feedback=1": "compressor.feedback=1: must be true or false",
}  # fmt: skip


@pytest.mark.parametrize("wrong", REFUSED)
def test_refused_before_anything_is_written(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("devices=12", "optimizer.lr=0.1", "tracker=none", "scenario.arms=[swarm]")
    assert main([*few, *wrong.split(), f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert REFUSED[wrong] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_low_rank_wants_one_models_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Averaging, "width", lambda self, phase, parameters: parameters + 1)
    with pytest.raises(Exception, match=r"compressor\.rank=2: finds matrices in a model's 4810 parameters only, but the "
                                        "protocol sends 4811 numbers"):  # fmt: skip
        experiment("protocol=averaging", "compressor=low_rank")


def test_a_message_for_each_neighbour_is_not_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Averaging, "phases", ("per_edge",))
    monkeypatch.setattr(Averaging, "requirements", Requirements(fixed_links=True))
    with pytest.raises(Exception, match="which sends each neighbour a message of its own"):
        experiment("protocol=averaging", "compressor=sign", "topology=ring")
