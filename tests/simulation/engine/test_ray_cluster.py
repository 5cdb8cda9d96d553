"""A swarm on a cluster of three nodes, one of which is lost in the middle of a round."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DEADLINE = 120.0
# In a process of its own: Ray reads its settings when it is imported, and this cluster's are not
# those of other tests.
SCRIPT = """
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from swarm.simulation.loop import Simulation
from swarm.common.rows import params_sha256
from tests.support import prepared

same = ("devices=12", "engine.block=2", "rounds=40", "checkpoint.every=10", "topology=one_peer_exponential")

def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"

def known(nodes_added):
    # A node that is up is not yet one on which the others place actors: they hear of it a little later.
    ray.init(address=nodes.address)
    left, end = [node.node_id for node in nodes_added], time.monotonic() + 60
    while left:
        assert time.monotonic() < end
        there = NodeAffinitySchedulingStrategy(node_id=left[0], soft=False)
        try:
            ray.get(ray.remote(num_cpus=0)(lambda: None).options(scheduling_strategy=there).remote(), timeout=30)
            left.pop(0)
        except ray.exceptions.RayError:
            time.sleep(0.2)
    ray.shutdown()

def victim(engine):
    # An actor that lives on an added node, and that node.
    homes = [m.handle.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()) for m in engine.actor_pool.members]
    nodes = {node.node_id: node for node in others}
    return next((m.pid, nodes[home]) for m, home in zip(engine.actor_pool.members, ray.get(homes)) if home in nodes)

def played(run, lose=False):
    arm = run.arms[0]
    engine = run.engine
    with Simulation(run.experiment(arm, arm.variants[0]), engine) as running:
        losses = []
        pid, doomed = victim(engine) if lose else (None, None)
        for record in running.records(40):
            losses.append(record.values.get("train_loss"))
            if lose and running.round == 13:
                nodes.remove_node(doomed, allow_graceful=False)
                while alive(pid):
                    time.sleep(0.01)
            if running.round and running.round % 10 == 0:
                running.checkpoint()
        return losses, params_sha256(running.engine.snapshot()["x"].numpy()), engine.describe()

losses, hashed, _ = played(prepared(*same))
nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
others = [nodes.add_node(num_cpus=1) for _ in range(2)]
known(others)
run = prepared(*same, "engine=ray", "engine.actors=3", f"engine.address={nodes.address}")
again, same_hash, said = played(run, lose=True)
assert again == losses
assert same_hash == hashed
assert said["prefork"] is False
assert said["deaths"] >= 1
print("deaths", said["deaths"])
nodes.shutdown()
"""


def test_a_lost_node_costs_no_bit() -> None:
    # short: sockets live below it
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        _run(folder)


def _run(folder: str) -> None:
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
        "PYTHONPATH": str(ROOT),
    }
    environment["RAY_TMPDIR"] = folder
    environment |= {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "8"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deaths" in done.stdout
