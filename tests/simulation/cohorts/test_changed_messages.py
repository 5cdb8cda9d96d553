"""Messages between models of several shapes that are compressed, clipped or noised, and devices
that are private: against loops over devices and named tensors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.compression.base import Compressor, Draw
from swarm.communication.compression.float16 import Float16
from swarm.communication.compression.qsgd import QSGD
from swarm.communication.compression.random_k import RandomK
from swarm.communication.compression.sign import Sign
from swarm.communication.compression.top_k import TopK
from swarm.communication.transform.base import transformed
from swarm.communication.transform.clip import Clip
from swarm.communication.transform.noise import Noise
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment
from tests.simulation.cohorts.test_nested_averaging import (
    Named,
    corner,
    has_of,
    named,
    nested_mean,
    trajectory_alone,
)
from tests.simulation.cohorts.test_robust_rules import heard_by, number_by_number, trimmed
from tests.support import (
    experiment,
    final_rows,
    prepared,
    records,
    require_same_bits,
    simulation,
    trajectory,
)

THREE = "cohorts={small: {devices: 0.4, model: {hidden: [4]}}, tiny: {devices: [0, 7], model: {hidden: [2]}}}"
SMALL = ("devices=11", "engine.block=3", "compute.dtype=float64", "model.hidden=[6]", THREE)
Floats = npt.NDArray[np.float64]
COMPRESSORS: dict[str, Compressor] = {
    "float16": Float16(),
    "top_k": TopK(number_bits=64),
    "random_k": RandomK(number_bits=64),
    "sign": Sign(number_bits=64),
    "qsgd": QSGD(bucket=64, number_bits=64),
}


def flat(values: Named) -> Tensor:
    return torch.cat([each.reshape(-1) for each in values.values()])


def as_named(row: Tensor, like: Named) -> Named:
    found, start = {}, 0
    for name, each in like.items():
        found[name] = row[start : start + each.numel()].view(each.shape)
        start += each.numel()
    return found


def common(one: Named, other: Named) -> Named:
    """The numbers of ``one`` that ``other`` has too, by name."""
    return {name: corner(one[name], each.shape) for name, each in other.items() if name in one}


def message(learnt: list[Named], sender: int, receiver: int, packer: Compressor) -> Named:
    """What a receiver decodes of the packet that a sender makes for it in round 1."""
    shared = common(learnt[sender], learnt[receiver])
    draw = Draw(Keys(0, "compressor.1"), np.array([sender]), 1)
    return as_named(packer(flat(shared)[None], draw)[0], shared)


def learnt_and_after(ready: PreparedRun) -> tuple[Experiment, list[Named], list[Named]]:
    e = ready.experiment(ready.arms[0], ready.arms[0].variants[0])
    learnt = [named(e, row, i) for i, row in enumerate(trajectory_alone(ready))]
    after = [named(e, row, i) for i, row in enumerate(trajectory(ready)[1])]
    return e, learnt, after


# --- compressed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["network.drop=0.0", "network.drop=0.4"])
@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_device_packs_the_numbers_that_both_ends_have(name: str, network: str) -> None:
    bucket = ("compressor.bucket=64",) if name == "qsgd" else ()
    words = (*SMALL, "topology=small_world", "rounds=1", network, f"compressor={name}", *bucket)
    e, learnt, after = learnt_and_after(prepared(*words))
    for i, heard in enumerate(heard_by(e)):
        packets = [
            learnt[j] if j == i else message(learnt, j, i, COMPRESSORS[name]) for j, _ in heard
        ]
        expected = nested_mean(packets, [weight for _, weight in heard], learnt[i])
        for key, values in after[i].items():
            torch.testing.assert_close(values, expected[key], rtol=1e-12, atol=1e-14)


def test_a_robust_rule_combines_what_receivers_decode() -> None:
    words = (*SMALL, "topology=small_world", "rounds=1", "compressor=top_k",
             "aggregator=trimmed_mean", "aggregator.f=0.34")  # fmt: skip
    e, learnt, after = learnt_and_after(prepared(*words))
    for i, heard in enumerate(heard_by(e)):
        packets = list(learnt)
        for j, _ in heard:
            packets[j] = learnt[j] if j == i else message(learnt, j, i, COMPRESSORS["top_k"])
        expected = number_by_number(packets, heard, i, trimmed(0.34))
        for key, values in after[i].items():
            torch.testing.assert_close(values, expected[key], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_message_has_the_bits_of_the_numbers_that_both_ends_have(name: str) -> None:
    words = (*SMALL, "topology=small_world", "rounds=1", f"compressor={name}")
    e = experiment(*words)
    assert e.communication.compressor is not None
    rows = [named(e, np.zeros(e.model.layout.width), i) for i in range(11)]
    graph = e.communication.graph(1)
    sizes = [
        e.communication.compressor.bits(flat(common(rows[src], rows[dst])).numel())
        for src, dst in zip(graph.src_E, graph.dst_E, strict=True)
    ]
    assert len(set(sizes)) == 3
    assert records(prepared(*words))[-1].values["bytes"] * 8 == sum(sizes)


def test_what_a_packet_left_out_comes_with_the_next_to_the_same_cohort() -> None:
    """Devices that do not learn come nearer to their mean by packets with the error fed back."""
    words = (*SMALL, "topology=complete", "rounds=6", "optimizer.lr=1.0e-9", "init=independent")
    packed = (*words, "compressor=top_k", "compressor.fraction=0.5")
    has_NP, mean_NP = has_of(experiment(*words)), final_rows(prepared(*words))
    after = trajectory(prepared(*packed))
    without = final_rows(prepared(*packed, "compressor.feedback=false"))
    first, last, never = (
        np.abs(each - mean_NP)[has_NP].mean() for each in (after[1], after[-1], without)
    )
    assert last < 0.6 * first
    assert last < 0.6 * never


def test_the_error_of_a_packet_for_a_cohort_is_kept_while_no_receiver_is_in_it() -> None:
    """Where each device has one receiver a round, the packets for the other cohorts go to nobody."""
    words = (*SMALL, "topology=random_matching", "rounds=2", "compressor=top_k")
    ready = prepared(*words)
    with simulation(ready) as running:
        e, errors = running.experiment, []
        for round in (1, 2):
            for _ in running.engine.advance(round):  # type: ignore[attr-defined]
                pass
            errors.append(running.engine.snapshot()["wire.error.1"])
    cohorts, mixed = e.model.cohorts, e.communication.mixed
    assert cohorts is not None
    assert mixed is not None
    kept = 0
    for round, (before, after) in enumerate(zip([0 * errors[0], *errors], errors, strict=False), 1):
        graph = e.communication.messages.graph(round)
        for device in range(11):
            of = set(cohorts.cohort_N[graph.dst_E[graph.src_E == device]].tolist())
            for cohort in range(3):
                part = slice(*mixed.start_C[cohort : cohort + 2])
                same = torch.equal(after[device, part], before[device, part])
                assert same == (cohort not in of)
                kept += same and bool(before[device, part].any())
    assert kept


# --- clipped and noised ---------------------------------------------------------------------------


def test_transforms_are_of_each_devices_own_numbers() -> None:
    transforms = (Clip(0.5), Noise(0.01))
    words = (*SMALL, "topology=small_world", "rounds=1",
             "transforms=[{clip: {norm: 0.5}},{noise: {std: 0.01}}]")  # fmt: skip
    e, learnt, after = learnt_and_after(prepared(*words))
    sent = [
        as_named(transformed(transforms, flat(each)[None], np.array([i]), 1, 0, 1)[0], each)
        for i, each in enumerate(learnt)
    ]
    for i, heard in enumerate(heard_by(e)):
        rows = [learnt[j] if j == i else sent[j] for j, _ in heard]
        expected = nested_mean(rows, [weight for _, weight in heard], learnt[i])
        for key, values in after[i].items():
            torch.testing.assert_close(values, expected[key], rtol=1e-12, atol=1e-14)


# --- private devices ------------------------------------------------------------------------------

PRIVATE = ("privacy.clip_norm=0.5", "privacy.noise_multiplier=0.7")


@pytest.mark.parametrize("unit", ["sample_level", "device_level"])
def test_every_cohort_is_private_as_a_swarm_of_its_own_model_is(unit: str) -> None:
    words = ("devices=11", "engine.block=3", "compute.dtype=float64", "partition=iid",
             "init=independent", "topology=none", "protocol=none", "rounds=2", f"privacy={unit}",
             *PRIVATE)  # fmt: skip
    mixed_words = (*words, "model.hidden=[6]", THREE)
    e, mixed = experiment(*mixed_words), final_rows(prepared(*mixed_words))
    assert e.model.cohorts is not None
    for number, hidden in enumerate((6, 4, 2)):
        alone = final_rows(prepared(*words, f"model.hidden=[{hidden}]"))
        for device in np.flatnonzero(e.model.cohorts.cohort_N == number):
            own = e.model.own_row(torch.as_tensor(mixed[device]), int(device)).numpy()
            np.testing.assert_allclose(own, alone[device], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("unit", ["sample_level", "device_level"])
def test_the_accountant_knows_no_models(unit: str) -> None:
    words = ("devices=11", "partition=iid", "topology=small_world", "rounds=2", f"privacy={unit}",
             *PRIVATE, "model.hidden=[6]")  # fmt: skip
    mixed, plain = (records(prepared(*words, *more))[-1] for more in ((THREE,), ()))
    spent = {key: value for key, value in plain.values.items() if "epsilon" in key}
    assert spent
    assert {key: mixed.values[key] for key in spent} == spent


# --- what holds for all of them -------------------------------------------------------------------

RUNS: list[tuple[str, ...]] = [
    ("compressor=top_k", "network.drop=0.2", "delay=exponential", "delay.mean=1.0",
     "transforms=[noise]", "aggregator=centred_clipping"),
    ("compressor=qsgd", "protocol=multi_gossip", "churn=markov", "topology=complete"),
    ("privacy=sample_level", "partition=iid", "compressor=random_k", "protocol=diloco",
     "protocol.exchange=gossip"),
    ("privacy=device_level", "protocol=fedavg", "protocol.fraction=0.6"),
]  # fmt: skip


@pytest.mark.parametrize("words", RUNS, ids=lambda words: words[0])
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: tuple[str, ...]) -> None:
    common = ("devices=11", "engine.block=2", "model.hidden=[6]", "topology=small_world", THREE)
    require_same_bits(tmp_path, *common, *words, rounds=3, cut=1)
    has_NP = has_of(experiment(*common, *words))
    for rows_NP in trajectory(prepared(*common, *words, "rounds=2")):
        assert not rows_NP[~has_NP].any()


@pytest.mark.parametrize("words", [("compressor=top_k",), ("transforms=[clip,noise]",)])
def test_cohorts_of_one_model_are_the_run_without_cohorts(words: tuple[str, ...]) -> None:
    common = ("devices=11", "rounds=2", "topology=small_world", "compute.dtype=float64", *words)
    same = "cohorts={same: {devices: 0.5, model: {hidden: [64]}}}"
    with_them, without = final_rows(prepared(*common, same)), final_rows(prepared(*common))
    np.testing.assert_allclose(with_them, without, rtol=0, atol=1e-12)


# --- what is refused ------------------------------------------------------------------------------

REFUSED = {
    "compressor=low_rank compressor.rank=1": "compressor=low_rank: must be one that packs any numbers with cohorts",
    "compressor=neurons": "compressor=neurons: must be one that packs any numbers with cohorts",
    "compressor=qsgd protocol=fedavg": "which sends through a server",
    "privacy=correlated": "privacy=correlated: must be none, sample_level or device_level with cohorts",
    "privacy=device_level privacy.noise=distributed protocol=fedavg": "privacy.noise=distributed: must be local with cohorts",
    "secure_sum=bonawitz": "secure_sum=bonawitz: must be none with cohorts",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_has_no_meaning_is_refused(words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(REFUSED[words])):
        prepared(*SMALL, "partition=iid", *words.split())
