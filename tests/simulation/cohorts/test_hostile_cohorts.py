"""Hostile devices among models of several shapes: what they send is made of the numbers that they
have, and what colluders know of those who have a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.attack.base import Attacking, Known, MessageAttack
from swarm.simulation.experiment import Experiment
from tests.simulation.cohorts.test_changed_messages import as_named, flat, learnt_and_after
from tests.simulation.cohorts.test_nested_averaging import Named, has_of, nested_mean
from tests.simulation.cohorts.test_robust_rules import heard_by, number_by_number, trimmed
from tests.support import experiment, prepared, records, require_same_bits, trajectory

COHORTS = "cohorts={small: {devices: 0.4, model: {hidden: [4]}}, huge: {devices: [0, 7], model: {hidden: [9]}}}"
SMALL = ("devices=11", "engine.block=3", "compute.dtype=float64", "model.hidden=[6]", COHORTS,
         "topology=complete", "rounds=1")  # fmt: skip
HOSTILE = [0, 2, 7]
BY = f"attack.devices=[{','.join(map(str, HOSTILE))}]"
Floats = npt.NDArray[np.float64]


def of_honest(learnt: list[Named], watched: list[int], i: int, rule: str) -> Named:
    """Of each number of device i the mean or the spread over those watched who have it, and NaN
    where none has."""
    of = {"mean": np.mean, "std": np.std}[rule]
    heard = [(j, 1.0) for j in watched]
    return number_by_number(learnt, heard, i, lambda v: float(of(v)) if len(v) else float("nan"))


def messages(e: Experiment, learnt: list[Named], watched: list[int]) -> list[Named]:
    """What all devices send in round 1."""
    attack, sent = e.communication.attack, list(learnt)
    assert isinstance(attack, MessageAttack)
    for i in HOSTILE:
        own, known = flat(learnt[i]), None
        if attack.colludes:
            mean, std = (flat(of_honest(learnt, watched, i, rule)) for rule in ("mean", "std"))
            known = Known(mean, std)
        acting = Attacking(np.array([i]), 1, Keys(0, "attack.1"), known, own[None])
        made = attack(own[None], acting)[0]
        sent[i] = as_named(torch.where(torch.isnan(made), own, made), learnt[i])
    return sent


@pytest.mark.parametrize("rule", ["mean", "trimmed_mean"])
@pytest.mark.parametrize(
    "words",
    [
        ("attack=sign_flip",),
        ("attack=gaussian",),
        ("attack=alie", "attack.z=1.5"),
        ("attack=mimic", "attack.target=1"),
        ("attack=inner_product",),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.filterwarnings("ignore:aggregator")
def test_hostile_devices_send_what_the_attack_makes_of_their_own_numbers(
    words: tuple[str, ...], rule: str
) -> None:
    robust = (f"aggregator={rule}",)
    if rule == "trimmed_mean":
        robust = (*robust, "aggregator.f=0.3", "aggregator.unsafe=warn")
    e, learnt, after = learnt_and_after(prepared(*SMALL, *words, BY, *robust))
    honest = [i for i in range(11) if i not in HOSTILE]
    sent = messages(e, learnt, [1] if "mimic" in words[0] else honest)
    for i, heard in enumerate(heard_by(e)):
        rows = [learnt[j] if j == i else sent[j] for j, _ in heard]
        if rule == "mean":
            expected = nested_mean(rows, [weight for _, weight in heard], learnt[i])
        else:
            given = [learnt[j] if j == i else sent[j] for j in range(11)]
            expected = number_by_number(given, heard, i, trimmed(0.3))
        for name, values in after[i].items():
            torch.testing.assert_close(values, expected[name], rtol=1e-10, atol=1e-12)


def test_a_message_that_is_sent_several_times_counts_as_often() -> None:
    words = (*SMALL, "topology=ring")
    e = experiment(*words)
    mixed, graph = e.communication.mixed, e.communication.graph(1)
    assert mixed is not None
    bits_E = mixed.bits_on(graph.src_E, graph.dst_E)
    copies_E = np.where(np.isin(graph.src_E, HOSTILE), 4, 1)
    last = records(prepared(*words, "attack=flooding", "attack.copies=4", BY))[-1]
    assert last.values["bytes"] * 8 == (bits_E * copies_E).sum()


RUNS: list[tuple[str, ...]] = [
    ("attack=alie", "attack.z=1.0", "aggregator=trimmed_mean", "network.drop=0.2"),
    ("attack=delayed", "attack.lag=2", "aggregator=clipped_gossip", "compressor=top_k"),
    ("attack=mimic", "protocol=fedavg", "protocol.fraction=0.6", "aggregator=coordinate_median"),
]


@pytest.mark.parametrize("words", RUNS, ids=lambda words: words[0])
@pytest.mark.filterwarnings("ignore:aggregator")
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    common = ("devices=11", "engine.block=2", *SMALL[3:-1], BY, *words)
    if "coordinate_median" in words[-1] or "trimmed_mean" in " ".join(words):
        common = (*common, "aggregator.unsafe=warn")
    require_same_bits(tmp_path, *common, rounds=3, cut=1)
    has_NP = has_of(experiment(*common))
    honest = np.setdiff1d(np.arange(11), HOSTILE)
    for rows_NP in trajectory(prepared(*common, "rounds=2")):
        assert not rows_NP[~has_NP].any()
        assert np.isfinite(rows_NP[honest]).all()


def test_a_row_for_each_receiver_is_refused() -> None:
    with pytest.raises(ConfigError, match="attack=dissensus: must be none, or one that makes one"):
        prepared(*SMALL, "attack=dissensus", BY)
