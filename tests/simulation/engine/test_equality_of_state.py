"""Equality beyond plain SGD: optimiser state, unequal devices, samples of devices, time-varying
graphs, chunked advances.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support import config, prepared, require_same_bits, rows, run, simulation

PLUGINS = f"plugins=[{Path(__file__).parents[2] / 'communication' / 'protocol' / 'parts.py'}]"
STREAM = ("partition=iid", "train.batch=4", "train.local_steps=3")
TEXT = ("data=markov", "partition=natural", "data.context=6", "train.batch=4")
KEPT, TREE = ("replay=reservoir", "replay.size=7"), ("topology=barabasi_albert",)
CASES = {
    "adamw": ("optimizer=adamw", "optimizer.lr=0.01"),
    "nesterov, clipped": ("optimizer=momentum", "train.clip_norm=0.5"),
    "local epochs, skewed": ("train.local_steps=null", "train.local_epochs=1", "partition=quantity_skew", "optimizer=adam"),
    "some devices evaluated": ("evaluate.devices=4",),
    "float64": ("compute.dtype=float64",),
    "fedavg by samples": ("protocol=fedavg", "protocol.shares=samples"),
    "fedavg of some": ("protocol=fedavg", "protocol.fraction=0.4"),
    "fedprox": ("protocol=fedprox", "protocol.fraction=0.6"),
    "scaffold": ("protocol=scaffold", "protocol.fraction=0.6"),
    "fedadam": ("protocol=fedadam",),
    "diloco": ("protocol=diloco",),
    "diloco by gossip": ("protocol=diloco", "protocol.exchange=gossip"),
    "gossip learning, rw": ("protocol=gossip_learning", "protocol.variant=rw", "topology=barabasi_albert"),
    "gossip learning, mu": ("protocol=gossip_learning", "topology=one_peer_exponential"),
    "gossip learning, um": ("protocol=gossip_learning", "protocol.variant=um", "topology=barabasi_albert"),
    "relay_sgd": ("protocol=relay_sgd", "topology=barabasi_albert"),
    "power_gossip": ("protocol=power_gossip", "topology=barabasi_albert"),
    "each its own start": ("init=independent", "topology=torus", "topology.periodic=false", "devices=12"),
    "regression": ("data=linear_regression", "partition=natural", "model=softmax", "optimizer.lr=0.05"),
    "one-peer exponential": ("topology=one_peer_exponential", "protocol=dpsgd_published"),
    "online, drifting": (*STREAM, "update=online", "drift=label_swap", "drift.kind=gradual", "drift.phase=0.3"),
    "online, told and replayed": (*STREAM, "update=online", "labels=meetings", "labels.chance=0.4", *KEPT),
    "online, learning twice": (*STREAM, "update=online", *KEPT, "protocol=gossip_learning", "protocol.variant=um", *TREE),
    "nightly, balanced": (*STREAM, "update=nightly", "update.day=2", "replay=class_balanced", "replay.size=9", "optimizer=adam"),
    "nightly, told": (*STREAM, "update=nightly", "update.day=2", "labels=meetings", "labels.chance=0.1", *KEPT),
    "frozen": (*STREAM, "update=frozen", "update.after=2", "drift=rotation", "partition=quantity_skew"),
    "sea": ("data=sea", "partition=natural", "data.per_device=60", "update=online", "train.batch=4", "model=softmax"),
    "text, mcsd": (*TEXT, "model=mcsd", "model.width=8", "model.channels=2"),
    "text, transformer": (*TEXT, "model=transformer", "model.width=8", "model.heads=2", "update=online", "optimizer=adamw"),
    "selective": ("model=selective", "compressor=neurons", "protocol=delta_sharing", "topology=complete"),
    "text": ("data=markov", "partition=natural", "model=gru", "model.width=8", "data.context=6", "train.batch=4"),
    "warm-up and decay": ("schedule=wsd", "schedule.warmup=0.3", "schedule.decay=0.5", "optimizer=momentum"),
    "gradient tracking, some asleep": ("protocol=gradient_tracking", "topology=ring", PLUGINS),
    "D² under loss": ("protocol=d2", "mixing=lazy", "network.drop=0.2", "network.symmetric=true"),
    "exact diffusion": ("protocol=exact_diffusion", "topology=star"),
    "push-sum, lost and late": ("protocol=push_sum", "mixing=column", "network.drop=0.2", PLUGINS),
    "choco, compressed": ("protocol=choco", "topology=ring", PLUGINS),
    "choco on a complete graph": ("protocol=choco", "topology=complete"),
    "updates, compressed": ("protocol=delta_sharing", "topology=complete", PLUGINS),
    "quasi-global, some asleep": ("protocol=quasi_global", "topology=one_peer_exponential", "train.clip_norm=1.0", PLUGINS),
}  # fmt: skip
ASLEEP = {"clock": {"_target_": "parts.SomeAwake", "share": 0.6}}
TOPK = {"compressor": {"_target_": "parts.TopK", "count": 50, "feedback": True}}
SECTIONS = {
    "gradient tracking, some asleep": ASLEEP,
    "quasi-global, some asleep": ASLEEP,
    "push-sum, lost and late": {
        "topology": {"_target_": "parts.OneWay"},
        "delay": {"_target_": "parts.SlowMail"},
    },
    "choco, compressed": {"compressor": {**TOPK["compressor"], "feedback": False}},
    "updates, compressed": TOPK,
}


@pytest.mark.parametrize("case", CASES)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, case: str) -> None:
    common = ("devices=11", "engine.block=2", *CASES[case])
    cut = 1 + len(case) % 2
    require_same_bits(tmp_path, *common, rounds=5, cut=cut, **SECTIONS.get(case, {}))


def test_advancing_in_pieces_is_advancing_at_once() -> None:
    ready = prepared(
        "devices=11",
        "engine.block=3",
        "engine.shards=3",
        "rounds=6",
        "topology=one_peer_exponential",
    )
    ends = []
    for stops in ([6], [1, 2, 3, 4, 5, 6], [4, 6]):
        with simulation(ready) as running:
            happened = [record for stop in stops for record in running.engine.advance(stop)]
            assert [record.round for record in happened] == [1, 2, 3, 4, 5, 6]
            ends.append(rows(running))
    np.testing.assert_array_equal(ends[1], ends[0])
    np.testing.assert_array_equal(ends[2], ends[0])


def test_looking_does_not_change_what_is_looked_at(tmp_path: Path) -> None:
    """How often, on whom, and whether at all the devices are evaluated or saved: the same
    parameters.
    """
    hashes = {
        run(tmp_path / str(i), *options)["arms"]["swarm"]["params_sha256"]
        for i, options in enumerate(
            [
                ("evaluate.every=1", "checkpoint.every=1"),
                ("evaluate.every=3", "checkpoint.every=0"),
                ("evaluate.accuracy=false",),
                ("evaluate.devices=3", "evaluate.ensemble=false", "evaluate.local=false"),
            ]
        )
    }
    assert len(hashes) == 1


def test_seeds_differ(tmp_path: Path) -> None:
    hashes = {
        run(tmp_path / str(s), f"seed={s}")["arms"]["swarm"]["params_sha256"] for s in (0, 1, 2)
    }
    assert len(hashes) == 3


def test_helpers_compose_what_the_command_line_composes() -> None:
    from tests.conftest import SMALL, composed

    overrides = (
        "topology=torus",
        "devices=16",
        "optimizer=adam",
        "train.clip_norm=1.5",
        "rounds=9",
        "plugins=[]",
    )
    assert config(*overrides) == composed(*SMALL, *overrides)
