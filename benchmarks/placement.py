"""Bytes between the nodes of a cluster, by where its actors live: a Ray of three nodes on this machine.

    python -m benchmarks.placement           # some minutes

Contestants take turns on the same graph: actors dealt out one by one (`dealt`), and actors that
follow each other on one node, as the engine has them (`packed`). *Rows* are bytes that have to go to
another node, counted from the graph. *Arrays* are bytes of the arrays that cross, as Ray moves them:
a large one once to each node, a small one by way of the driver to each actor. *Sockets* is what
really went over connections between processes of different nodes (`ss`), with all that Ray adds.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.actors import family, ready, started
from benchmarks.scale import rows_between
from swarm.common.rows import params_sha256
from swarm.simulation.engine.ray.actor import COPIED_BYTES

NODES, CORES, ROUNDS = 3, 2, 20
GRAPHS = (
    ("ring", "topology=ring"),
    ("torus", "topology=torus"),
    ("small world", "topology=small_world"),
    ("small world, p=0.02", "topology=small_world", "topology.p=0.02"),
)


def dealt(self: Any, count: int) -> list[str]:
    """One node after the other."""
    names = sorted(node["NodeID"] for node in self.ray.nodes() if node["Alive"])
    return [names[number % len(names)] for number in range(count)]


def sockets() -> dict[tuple[str, str, int], int]:
    """Bytes sent so far on each connection of this machine: by its ends and the sender's process."""
    text = subprocess.run(["ss", "-tinpHO"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        ends, pid = line.split()[3:5], re.search(r"pid=(\d+)", line)
        sent = re.search(r"bytes_sent:(\d+)", line)
        if pid and sent:
            found[ends[0], ends[1], int(pid[1])] = int(sent[1])
    return found


def between(before: dict[Any, int], after: dict[Any, int], home: dict[int, int]) -> int:
    """Bytes sent meanwhile from a process of one node to one of another."""
    at = {ours: home.get(pid) for ours, _, pid in after}
    return sum(
        sent - before.get(key, 0)
        for key, sent in after.items()
        if None not in (at[key[0]], at.get(key[1])) and at[key[0]] != at[key[1]]
    )


def arrays(engine: Any, homes: Sequence[int], driver: int) -> int:
    """Bytes of the arrays of a round that cross to another node."""
    e, total = engine.experiment, 0
    row = e.model.layout.width * e.dtype.itemsize
    for i, route in enumerate(engine.assignment.routes(e.communication.messages.mix(1))):
        for rows, others in route.multicasts:
            size, to = len(rows) * row, [homes[other] for other in others]
            if size >= COPIED_BYTES:
                total += size * len(set(to) - {homes[i]})
            else:
                total += size * ((homes[i] != driver) + sum(home != driver for home in to))
    return total


def measured(
    address: str, raylets: Sequence[int], words: Sequence[str]
) -> tuple[list[float], list[int], str]:
    """Bytes a round: rows, arrays, sockets; the node of each actor; and what the run came to."""
    with ExitStack() as stack:
        own = ("engine=ray", f"engine.address={address}", f"engine.actors={NODES * CORES}", "engine.block=6",
               "devices=216", "rounds=1000000", *words)  # fmt: skip
        engine: Any = started(stack, ready(*own)).engine
        home = {pid: node for node, top in enumerate(raylets) for pid in family(top)}
        home.setdefault(os.getpid(), 0)
        homes = [home[member.pid] for member in engine.assignment.members]
        list(engine.advance(3))
        before = sockets()
        list(engine.advance(3 + ROUNDS))
        sent = between(before, sockets(), home)
        owner_N = np.empty(216, np.int64)
        for number, held in enumerate(engine.assignment.devices):
            owner_N[held] = homes[number]
        row = engine.experiment.model.layout.width * 4
        rows = rows_between(engine.experiment.communication.graph(1), owner_N) * row
        end = params_sha256(engine.snapshot()["x"].numpy())
        return [rows, arrays(engine, homes, 0), sent / ROUNDS], homes, end


def _nothing() -> None:
    """What a node does to show that it is known."""


def wait_until_known(nodes: Any) -> None:
    """Wait until actors are placed on every node: the others hear of one a little after it is up."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(address=nodes.address, log_to_driver=False)
    for node in nodes.list_all_nodes():
        there = NodeAffinitySchedulingStrategy(node_id=node.node_id, soft=False)
        while True:
            task = ray.remote(num_cpus=0)(_nothing).options(scheduling_strategy=there)
            try:
                ray.get(task.remote(), timeout=60)
                break
            except ray.exceptions.RayError:
                time.sleep(0.2)
    ray.shutdown()


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ |= {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": folder,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        }  # fmt: skip
        from ray.cluster_utils import Cluster

        from swarm.simulation.engine.ray.actor_pool import ActorPool

        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": CORES})
        for _ in range(NODES - 1):
            nodes.add_node(num_cpus=CORES)
        nodes.wait_for_nodes()
        raylets = [node.all_processes["raylet"][0].process.pid for node in nodes.list_all_nodes()]
        wait_until_known(nodes)
        packed = ActorPool._slots
        print("KiB a round          placement      rows    arrays   sockets  actors of each node")
        for name, *words in GRAPHS:
            ends = set()
            for way, slots in (("dealt", dealt), ("packed", packed)):
                ActorPool._slots = slots  # type: ignore[method-assign]
                sizes, homes, end = measured(nodes.address, raylets, words)
                ends.add(end)
                text = "".join(f"{size / 1024:10,.0f}" for size in sizes)
                print(f"{name:20s} {way:10s}{text}  {homes}", flush=True)
            assert len(ends) == 1, "the numbers depend on the placement"
        ActorPool._slots = packed  # type: ignore[method-assign]
        nodes.shutdown()


if __name__ == "__main__":
    main()
