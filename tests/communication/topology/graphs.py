"""Makes topologies by their options, and checks the graphs that they give."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph

CONF = Path(__file__).parents[3] / "conf" / "topology"
RANDOM = [
    "erdos_renyi",
    "small_world",
    "barabasi_albert",
    "random_regular",
    "geometric",
    "clusters",
]


def make(name: str, devices: int, seed: int = 0, **options: Any) -> Topology:
    """The topology of conf/topology/NAME.yaml, built from the yaml's own options."""
    section = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    module, _, attribute = section.pop("_target_").rpartition(".")
    target = getattr(importlib.import_module(module), attribute)
    context = {"devices": devices, "seed": seed}
    given = {
        key: value for key, value in context.items() if key in inspect.signature(target).parameters
    }
    made = target(**{**section, **options, **given})
    assert isinstance(made, Topology)
    return made


def check(graph: Graph, devices: int) -> None:
    assert graph.n == devices
    code = graph.dst_E * devices + graph.src_E
    assert (np.diff(code) > 0).all()  # sorted by (dst, src), unique
    assert (graph.src_E != graph.dst_E).all()
    assert code.size == 0 or (code.min() >= 0 and code.max() < devices**2)
    if not graph.directed:
        np.testing.assert_array_equal(np.sort(graph.src_E * devices + graph.dst_E), code)
    if graph.pos_N2 is not None:
        assert graph.pos_N2.shape == (devices, 2)
        assert np.isfinite(graph.pos_N2).all()
