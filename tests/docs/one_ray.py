"""One Ray for all commands of the pages that use one.

A start of Ray costs more processor time than all their small runs together. So the first command
starts it as it would start its own, and the commands after it get actors of their own there. With
``engine.address=auto`` the check before the run connects to it, by its address and token.
"""

from __future__ import annotations

from typing import Any, Self

from swarm.simulation.engine.ray.cluster import Cluster

STORE_BYTES = 512 << 20  # enough for whichever run comes next; the system gives what is used


class OneRay:
    """Stands where the engine makes its :class:`Cluster`. ``started`` is None before the first."""

    def __init__(self) -> None:
        self.started: Cluster | None = None

    def __call__(
        self, address: str | None, cores: int, prefork: bool, dashboard: bool, store_bytes: int
    ) -> Lent:
        if self.started is None:
            self.started = Cluster(None, cores, prefork, dashboard, STORE_BYTES).__enter__()
        return Lent(self.started)

    def address(self) -> str:
        """Where ``engine.address=auto`` finds this Ray, as ``RAY_ADDRESS``; its token is in the
        environment already."""
        assert self.started is not None, "a page starts a Ray before it joins one"
        return str(self.started.ray.get_runtime_context().gcs_address)

    def end(self) -> None:
        if self.started is not None:
            self.started.__exit__(None, None, None)


class Lent:
    """The Ray that is there, for one engine, which cannot stop it."""

    def __init__(self, real: Cluster) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """It stays."""
