"""What an audit asks about, and what it hears: honest devices, and the rows that arrive."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import swarm
from run_swarm import main
from swarm.common.errors import ConfigError, DivergedError
from swarm.experiments.audit import audit as audits
from swarm.experiments.audit.swarms import FINAL, MESSAGE, Tapped, first_messages, play
from swarm.simulation.engine.base import RoundResult
from swarm.simulation.engine.local import LocalEngine
from tests.support import experiment, prepared, run

FEW = ("devices=6", "topology=complete", "partition=iid", "data.test=0.6", "train.local_steps=1")
HOSTILE = (*FEW, "rounds=2", "attack.devices=[1,4]", "aggregator=coordinate_median")


def tapped(words: tuple[str, ...], rounds: int) -> Tapped:
    """An engine after these rounds; the devices' models are still there."""
    engine = Tapped()
    engine.start(experiment(*words))
    list(engine.advance(rounds))
    return engine


def breaking(patch: pytest.MonkeyPatch, devices: list[int], told: bool = True) -> None:
    """Let the models of these devices become NaN in every round, with word of it or without."""
    advance = LocalEngine.advance

    def broken(engine: LocalEngine, until: int) -> Iterator[RoundResult]:
        for happened in advance(engine, until):
            rows_NP = engine.shards[0].state.x.clone()
            rows_NP[devices] = torch.nan
            engine.shards[0].state.x = rows_NP
            happened.finite_N[devices] &= not told
            yield happened

    patch.setattr(Tapped, "advance", broken)


def test_hostile_devices_are_not_audited(tmp_path: Path) -> None:
    """They send NaN, of which one would spoil the variance that all samples share."""
    run(tmp_path / "run", *HOSTILE, "attack=not_a_number")
    ready = prepared(*HOSTILE)
    honest = int(np.delete(ready.split.sizes_N, [1, 4]).sum())
    found = swarm.audit(tmp_path / "run", shadows=4)
    assert found.samples == honest
    assert len(found.table) == 6
    assert not (found.table["auc"] == 0.5).any()
    assert found.table["auc_low"].notna().all()


def test_models_of_hostile_devices_need_not_be_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = prepared(*HOSTILE, "attack=not_a_number")
    again = partial(play, ready, ready.arms[0], ready.arms[0].first, 0)
    expected = again()
    breaking(monkeypatch, [1, 4])
    found = again()
    assert all((found.loss_A[seen] == expected.loss_A[seen]).all() for seen in (MESSAGE, FINAL))


def test_a_swarm_that_diverges_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run", *FEW, "rounds=2")
    breaking(monkeypatch, [2])
    assert main(["audit", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "error: arm=swarm: gives a swarm of the audit in which device 2 diverged"
    )
    assert "Traceback" not in said


def test_losses_must_be_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else looks at the models after the last round's mix."""
    ready = prepared(*FEW, "rounds=1")
    breaking(monkeypatch, [3], told=False)
    with pytest.raises(DivergedError, match=r"device 3 diverged .* in round 1$"):
        play(ready, ready.arms[0], ready.arms[0].first, 0)


def test_epsilon_is_that_of_honest_devices() -> None:
    """The device with the fewest samples spends most, unless it is hostile."""
    pytest.importorskip("dp_accounting")
    words = (*FEW, "rounds=1", "partition=quantity_skew", "privacy=sample_level", "train.batch=4")
    split = prepared(*words).split
    least = int(split.sizes_N.argmin())

    def spent(*more: str) -> float:
        ready = prepared(*words, *more)
        found = play(ready, ready.arms[0], ready.arms[0].first, 0).epsilon
        assert found is not None
        return found

    assert spent("attack=sign_flip", f"attack.devices=[{least}]") < spent()


@pytest.mark.parametrize("attack", [("attack=alie", "attack.z=1"), ("attack=inner_product",)])
def test_messages_of_colluders_are_heard_as_they_are_sent(attack: tuple[str, ...]) -> None:
    """After the attack and the compressor, and not as colluders see them before."""
    words = (*FEW, "rounds=1", "compressor=float16")
    plain_NP = first_messages(experiment(*words))[1]
    sent_NP = first_messages(experiment(*words, *attack, "attack.devices=[5]"))[1]
    assert torch.equal(sent_NP, sent_NP.half().float())
    assert torch.equal(sent_NP[:5], plain_NP[:5])
    assert not torch.equal(sent_NP[5], plain_NP[5])


@pytest.mark.parametrize(
    "words",
    [
        ("protocol=fedavg", "protocol.fraction=0.3"),
        ("churn=joining", "churn.fraction=0.5", "churn.end=4"),
        ("clock=periodic", "clock.period=3"),
    ],
    ids=["fraction", "churn", "clock"],
)
def test_rows_are_those_that_were_sent(words: tuple[str, ...]) -> None:
    """A device that is silent in the last round has given away what it sent before."""
    rounds = 4
    engine = tapped((*FEW, *words, "rounds=4"), rounds)
    active = [engine.experiment.communication.active(r) for r in range(1, rounds + 1)]
    active_RN = np.stack([np.ones(6, bool) if each is None else each for each in active])
    last_N = (active_RN * np.arange(1, rounds + 1)[:, None]).max(0)
    assert (engine.heard_N == last_N).all()
    assert len(set(last_N.tolist())) > 1
    for round in set(last_N.tolist()) - {0}:
        at = np.flatnonzero(last_N == round)
        earlier = tapped((*FEW, *words, "rounds=4"), round)
        assert torch.equal(engine.sent_NM[at], earlier.sent_NM[at])
    assert engine.sent_NM[np.flatnonzero(last_N == 0)].isnan().all()


def test_lost_messages_are_not_heard() -> None:
    assert (tapped((*FEW, "rounds=2", "network.drop=0.7", "topology=ring"), 2).heard_N < 2).any()
    assert not tapped((*FEW, "rounds=1", "topology=none"), 1).heard_N.any()


def test_devices_that_were_not_heard_are_left_out(tmp_path: Path) -> None:
    run(tmp_path / "run", *FEW, "rounds=3", "protocol=fedavg", "protocol.fraction=0.5")
    found = swarm.audit(tmp_path / "run", shadows=4)
    assert len(found.table) == 6
    assert found.table.notna()["auc"].all()
    (note,) = found.notes
    assert note.startswith("Messages are those of ")
    assert 0 < int(note.split()[4]) < found.samples
    assert str(found).endswith(note)


def test_a_refusal_of_half_of_the_samples_says_so() -> None:
    pytest.importorskip("dp_accounting")
    ready = prepared(*FEW, "rounds=1", "privacy=sample_level", "train.batch=64")
    with pytest.raises(
        ConfigError, match=r"^train.batch=64: .*; the swarms of an audit learn from"
    ):
        play(ready, ready.arms[0], ready.arms[0].first, 0)


def test_shared_models_are_audited_beside_own_ones(tmp_path: Path) -> None:
    run(tmp_path / "run", *FEW, "rounds=1", "personal=fine_tune", "data.local_test=0.2")
    (note,) = swarm.audit(tmp_path / "run", shadows=4).notes
    assert "shared ones, and not those that personal=fine_tune gives" in note


def test_a_live_run_is_refused() -> None:
    pytest.importorskip("ray")
    ready = prepared(*FEW, "rounds=1", "engine=live")
    with pytest.raises(ConfigError, match=r"^engine=live: must be local or ray: an audit plays"):
        audits._played(ready, "swarm", {"variant": 0, "lr": 0.1}, 4, None)
