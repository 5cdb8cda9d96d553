"""Metrics of a user's own that look at devices block by block, or at the whole swarm: their numbers
against plain loops, and that nothing depends on how the swarm is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from swarm.common.errors import ConfigError
from swarm.config.plug_ins import load_plugins
from swarm.experiments.checks.check_plugin import check_plugin
from swarm.experiments.runs.idle import idle
from swarm.simulation.footprint import footprint
from tests.support import (
    experiment,
    logged,
    module_of,
    prepared,
    require_same_bits,
    run,
    simulation,
)

OWN = Path(__file__).with_name("user_metrics.py")
NAMES = ("LinkGap", "OnItsOwn", "Voters")
MEASURED = (
    f"plugins=[{OWN}]",
    f"metrics=[standard,{','.join(f'{{_target_: user_metrics.{name}}}' for name in NAMES)}]",
)
HOSTILE = ("topology=torus", "attack=sign_flip", "attack.devices=[1]", "aggregator=coordinate_median",
           "aggregator.f=1", "engine.block=3", "evaluate.devices=4", "devices=16")  # fmt: skip


def test_their_numbers_are_those_of_loops_over_devices() -> None:
    with simulation(prepared(*HOSTILE, *MEASURED, "rounds=2", "evaluate.every=1")) as running:
        rows = list(running.records(2))
        e, x_NP = running.experiment, running.engine.snapshot()["x"]
    last, devices = rows[-1].values, rows[-1].devices
    data, split, graph = e.data.dataset, e.data.split, e.communication.graph(2)
    pairs = list(zip(graph.src_E, graph.dst_E, strict=True))
    gaps = [float((x_NP[i] - x_NP[j]).norm()) for i, j in pairs]
    assert last["link_gap"] == pytest.approx(np.mean(gaps), rel=1e-5)
    assert last["link_messages"] == last["messages_total"] / len(pairs)
    assert devices is not None
    ids, worst = devices["device"], list[float]()
    assert 1 not in ids, "it is hostile"
    assert len(ids) < 15, "a few blocks are looked at"
    modules = [module_of(row, e.model.template) for row in x_NP]
    x, y = torch.as_tensor(data.x).to(e.dtype), torch.as_tensor(data.y, dtype=torch.int64)
    for i, value in zip(ids, devices["on_its_own"], strict=True):
        own = split.of(int(i))
        loss = functional.cross_entropy(modules[i](x[own]), y[own], reduction="none")
        assert value == pytest.approx(float(loss.mean().detach()), rel=1e-4)
        worst.append(float(loss.max().detach()))
    assert last["hardest"] == pytest.approx(max(worst), rel=1e-5)
    assert last["on_its_own_mean"] == pytest.approx(devices["on_its_own"].mean())
    some = data.test[:40]
    right = [float((m(x[some]).argmax(1) == y[some]).double().mean()) for m in modules]
    assert last["voters_all"] == pytest.approx(np.mean(right), abs=1e-12)
    assert last["voters_members"] == pytest.approx(np.mean(np.delete(right, 1)), abs=1e-12)
    assert last["voters_all"] != last["voters_members"]
    assert last["voters_accuracy"] == pytest.approx(last["accuracy_mean"])


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    words = (*MEASURED, "engine.block=2", "churn=crash", "churn.at=1", "evaluate.every=1")
    require_same_bits(tmp_path, *words, "scenario.arms=[swarm]", rounds=3, cut=1)
    final, plain = logged(tmp_path / "one")[-1], tmp_path / "plain"
    assert final["voters_members"] > 0
    run(plain, *words[2:], "scenario.arms=[swarm]", "rounds=3")
    kept = logged(plain)[-1]
    assert {key: final[key] for key in kept} == kept, "they change nothing in the run"


def test_check_plugin_tries_them() -> None:
    load_plugins([str(OWN)])
    for name in ("OnItsOwn", "Voters"):
        check_plugin(f"user_metrics.{name}")


def test_what_they_need_hold_and_use() -> None:
    with pytest.raises(ConfigError, match=r"^metrics=user_metrics.LinkGap: needs a topology with"):
        prepared(*MEASURED, "topology=none", "scenario.arms=[isolated]")
    e = experiment(*MEASURED)
    sizes = {part.name: part.bytes for part in footprint(e).parts}
    assert sizes["the metric link_gap"] == 4 * 12 * e.model.layout.width
    most = e.data.split.sizes_N.max()
    assert sizes["the metric on_its_own"] == 16 * 12 * most
    few = footprint(experiment(*MEASURED, "evaluate.devices=4")).parts
    assert {part.name: part.bytes for part in few}["the metric on_its_own"] == 16 * 4 * most
    alone = ("protocol=none", "topology=ring", "scenario.arms=[swarm]")
    assert "topology" in idle(experiment(*alone))
    assert "topology" not in idle(experiment(*alone, *MEASURED))
