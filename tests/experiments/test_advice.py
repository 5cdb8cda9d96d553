"""What a refusal advises is accepted: the same run with the advised setting can start."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from swarm.common.errors import ConfigError
from tests.support import prepared

# The settings of a run that is refused, and what its sentence advises; {1} stands for what the
# pattern has found. Several settings of one advice are divided by blanks.
REFUSED = [
    ("topology=small_world devices=3", r"devices=3; (\d) would do", ["topology.k={1}"]),
    ("topology=small_world devices=2", "take ring or comp", ["topology=ring", "topology=complete"]),
    ("topology=torus devices=13", r"; (\d+) or (\d+) would do", ["devices={1}", "devices={2}"]),
    ("topology=hypercube", r"two; (\d+) or (\d+) would do", ["devices={1}", "devices={2}"]),
    ("topology=social", r"(devices=\d+) would do", ["{1}"]),
    ("topology=exponential mixing=lazy", r"use (mixing=\w+)$", ["{1}"]),
    ("topology=ring mixing=topology", r"use (mixing=\w+)$", ["{1}"]),
    ("topology=ring protocol=d2", r"use (mixing=\w+)$", ["{1}"]),
    ("topology=exponential protocol=d2", "undirected topology and mixi", ["topology=ring mixing=lazy"]),
    (
        "topology=random_matching protocol=d2",
        "stay; (protocol=exact_diffusion) would do$",
        ["{1}"],
    ),
    (
        "topology=one_peer_exponential protocol=d2",
        "(protocol=exact_diffusion) would do on an undirected topology$",
        ["{1} topology=random_matching"],
    ),
    (
        "aggregator=trimmed_mean topology=ring",
        r"at least ([\d.]+) would do, or a topology with more links",
        ["aggregator.f={1}", "topology=complete"],
    ),
    (
        "aggregator=trimmed_mean topology=ring devices=2 partition=iid",
        "2 rows; more devices would do$",  # a share of 0.5 is refused
        ["devices=12 aggregator.f=0.4"],
    ),
    (
        "aggregator=trimmed_mean aggregator.f=2 topology=ring",
        r"; (f=1) would do there, or a topology with more links, or (aggregator.unsafe=warn)$",
        ["aggregator.{1}", "topology=complete", "{2}"],
    ),
    (
        "aggregator=krum topology=ring",
        r"bear no hostile one, and only a topology with more links or (aggregator.unsafe=warn) would",
        ["topology=torus devices=16", "{1}"],
    ),
    (
        "aggregator=minimum_diameter aggregator.f=6 topology=complete devices=30 partition=iid",
        "; a smaller f or a topology with fewer links would do$",
        ["aggregator.f=2", "topology=random_regular topology.degree=14"],
    ),
    (
        "aggregator=coordinate_median pre_aggregators=[nnm]",
        "; (aggregator.f=1) would do$",
        ["{1} topology=complete"],
    ),
    ("aggregator=reputation partition=iid", "of their own; 0.2 would do$", ["data.local_validation=0.2"]),
    ("clock=poisson clock.rate=3", r"(network.round_seconds=[\d.]+) would do", ["{1}"]),
    ("clock=periodic clock.period=0.5", r"(network.round_seconds=[\d.]+) would do", ["{1}"]),
    (
        "clock=speed",
        "such as (fleet=terminals), and a network.round_seconds that is no longer than",
        ["{1} network.round_seconds=0.00001 network.max_delay=1000"],
    ),
    (
        "drift=label_swap",
        "update=online or frozen would do, or (update=nightly) with (replay=ring)$",
        ["update=online", "update=frozen", "{1} {2}"],
    ),
    ("update=frozen replay=ring", r"(replay)=\w+: must be none .*; with (update.after=1) it", ["{2}", "{1}=none"]),
    (
        "update=online train.batch=512",
        r"at most (\d+) would do",
        ["train.batch={1}"],
    ),
    ("devices=2000 partition=iid topology=ring", r"at most (devices=\d+) would do", ["{1}"]),
    (
        "devices=700 topology=ring partition=dirichlet",
        r"at most (devices=\d+) would do, or less than (partition.min_samples)=2",
        ["{1}", "{2}=1"],
    ),
    (
        "devices=700 topology=ring partition=pathological",
        r"at most (devices=\d+) would do, or less than (partition.classes_per_device)=2",
        ["{1}", "{2}=1"],
    ),
    (
        "data=linear_regression partition=dirichlet",
        "targets; (iid), (quantity_skew) or (natural) would do",
        ["partition={1}", "partition={2}", "partition={3}"],
    ),
    (
        "data=table data.path=TABLE data.label=value data.task=regression",
        "targets; (iid) or (quantity_skew) would do",  # nobody owns a row
        ["partition={1}", "partition={2}"],
    ),
    (
        "data=table data.path=TABLE data.label=value data.task=regression partition=natural",
        "are; (iid) or (quantity_skew) would do",
        ["partition={1}", "partition={2}"],
    ),
    (
        "data=table data.path=TABLE data.label=value",
        "(data.task=regression) with a partition such as (iid) would do",
        ["{1} partition={2}"],
    ),
    (
        "partition=natural",
        "(iid), (dirichlet), (pathological) or (quantity_skew) would do",
        [f"partition={{{i}}}" for i in range(1, 5)],
    ),
    ("protocol=best_neighbour", r"; ([\d.]+) would do", ["data.local_validation={1}"]),
    (
        "protocol=gossip_pga delay=constant delay.seconds=3",
        "(delay)=constant: must be none",  # not: less than a round, which is refused, too
        ["{1}=none"],
    ),
    (
        "delay=constant delay.seconds=50",
        r"(network.max_delay=\d+), a longer (network.round_seconds) or",
        ["{1}", "{2}=60"],
    ),
    ("compressor=qsgd compressor.unbiased=true compressor.feedback=true", r"must be (false) with feedb", ["compressor.unbiased={1}"]),
    ("protocol=scaffold optimizer=adam", r"must be (sgd) with", ["optimizer={1}"]),
    ("protocol=fedadam init=independent", r"must be (common) \(or", ["init={1}"]),
    ("train.local_epochs=1", r"set (train.local_steps=null)", ["{1}"]),
    ("delay=distance", r"such as (topology=geometric)$", ["{1}"]),
    ("devices=20 engine.shards=7", r"(engine.block=\d+) makes enough", ["{1}"]),
    ("schedule=wsd schedule.warmup=0.6 schedule.decay=0.6", r"must be at most ([\d.]+),", ["schedule.decay={1}"]),
]  # fmt: skip


def together(*settings: str) -> list[str]:
    """Settings of which a later one replaces those of its key or, of a group, of its keys."""
    kept: dict[str, str] = {}
    for setting in settings:
        key = setting.partition("=")[0]
        kept = {name: value for name, value in kept.items() if not f"{name}.".startswith(f"{key}.")}
        kept[key] = setting
    return sorted(kept.values(), key=lambda text: "." in text.partition("=")[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("settings", "sentence", "advised"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_a_refusal_advises_is_accepted(
    settings: str, sentence: str, advised: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "values.csv"
    draw = np.random.default_rng(0)
    pd.DataFrame({"a": draw.random(150), "value": draw.random(150)}).to_csv(file, index=False)
    run = settings.replace("TABLE", str(file)).split()
    with pytest.raises(ConfigError) as refusal:
        prepared(*together(*run))
    found = re.search(sentence, str(refusal.value))
    assert found is not None, refusal.value
    for advice in advised:
        prepared(*together(*run, *advice.format(None, *found.groups()).split()))
