"""The promise nobody else makes: the same bits however the swarm is cut into shards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Small = Callable[..., dict[str, Any]]
TOPOLOGIES = [
    "none",
    "ring",
    "small_world",
    "complete",
    "exponential",
    "one_peer_exponential",
    "star",
]
PROTOCOLS = ["dpsgd", "dpsgd_published", "fedavg"]


def _records(folder: Any) -> list[dict[str, Any]]:
    from swarm.results.track.jsonl import read_jsonl

    return [
        {k: v for k, v in r.items() if not k.startswith("wall_s")}
        for r in read_jsonl(folder / "metrics.jsonl")
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_shards_do_not_change_a_bit(
    small: Small, tmp_path: Any, topology: str, protocol: str
) -> None:
    same = (f"topology={topology}", f"protocol={protocol}", "engine.block=2", "devices=11")
    one = small(*same, name="one")
    for shards in (2, 5):
        many = small(*same, f"engine.shards={shards}", name=f"shards{shards}")
        assert many["arms"]["swarm"]["params_sha256"] == one["arms"]["swarm"]["params_sha256"]
        assert _records(tmp_path / f"shards{shards}") == _records(tmp_path / "one")
