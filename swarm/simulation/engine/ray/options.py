"""The options of ``engine=ray`` that cannot be."""

from __future__ import annotations

from typing import Literal

from swarm.common.errors import ConfigError
from swarm.simulation.engine.base import Block


def require_options(
    actors: int | Literal["auto", "per_device"],
    block: Block,
    address: str | None,
    dashboard: bool,
    restarts: int,
) -> None:
    """Raises :class:`ConfigError` for a number out of range, an address that is none, and options
    that contradict one another."""
    if not isinstance(actors, str) and actors < 1:
        raise ConfigError("actors", actors, "must be auto, per_device or a number ≥ 1")
    if block != "auto" and block < 1:
        raise ConfigError("block", block, "must be auto or a number of devices ≥ 1")
    if actors == "per_device" and block not in ("auto", 1):
        raise ConfigError(
            "block",
            block,
            "must be 1 (or auto) with actors=per_device: an actor owns whole blocks",
        )
    if restarts < 0:
        raise ConfigError("restarts", restarts, "must be ≥ 0")
    if address not in (None, "auto") and not _is_address(str(address)):
        raise ConfigError(
            "address", address, "must be null (a Ray of the run's own), auto, or HOST:PORT"
        )
    if dashboard and address is not None:
        valid = (
            f"must be false with engine.address={address}: that cluster has a dashboard if it"
            " was started with one"
        )
        raise ConfigError("dashboard", True, f"{valid} (ray start --head --include-dashboard=true)")


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and "/" not in host and port.isdigit() and 0 < int(port) < 65536
