"""The Ray of one session: one of our own, which leaves nothing behind, or one that runs already."""

from __future__ import annotations

import atexit
import importlib
import os
import secrets
import sys
import warnings
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from swarm.common.errors import SwarmError
from swarm.common.system.interrupts import undisturbed
from swarm.simulation.engine.prefork import LONGEST_SOCKET, ForkServer, PreforkError, available
from swarm.simulation.engine.ray.cluster.process import (
    environment,
    few_processes,
    open_files,
    own_signals,
    private_folder,
)
from swarm.simulation.engine.ray.cluster.ray_logging import ray_logging
from swarm.simulation.engine.ray.cluster.requirements import one_line, refusal

SOCKET_BELOW = 70  # bytes that Ray adds to its temporary folder for its longest socket
LOOPBACK = "127.0.0.1"
# Environment variables that Ray reads when it is imported, or that its processes read.
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    # despite its name, this makes every port listen on the loopback only
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # everything that depends on a dead actor fails too; the run reports it in one sentence
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_worker_maximum_startup_concurrency": "4",
    "RAY_worker_register_timeout_seconds": "300",
    # workers that start before the job cannot share an imported Ray
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_DISABLE_CUSTOM_ARROW_JSON_OPTIONS_SERIALIZATION": "1",  # or every worker imports pyarrow
    "RAY_DISABLE_CUSTOM_ARROW_DATA_SERIALIZATION": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray must not give up the only node of a busy machine, as the driver would end with it
    "RAY_health_check_failure_threshold": "100",
    "OMP_NUM_THREADS": "1",
}
# Nobody asks a Ray without a dashboard what its workers did, which every one of them would report.
UNREPORTED = {
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_timeline": "0",
}
# What every actor uses. A module whose name ends in "?" may be missing.
PRELOAD = ("swarm.simulation.engine.ray.actor", "torch.utils._device?")
PLUG_INS = ("swarm.communication.", "swarm.learning.")


class ClusterError(SwarmError):
    """Ray cannot be started, has died, or does not work as it should."""


class Cluster:
    """A context manager within which Ray can be used.

    With ``address`` None it starts a Ray of our own, which is reachable from this machine only,
    with a token that only this process and its children know, in a folder that is removed
    afterwards. Otherwise it connects to the cluster at ``address``, ``auto`` or ``HOST:PORT``.

    After the start ``prefork`` says whether workers are forked, and ``why_not`` why they are not.

    Entering the block raises :class:`ClusterError` if Ray does not start, and
    :class:`~swarm.common.errors.ConfigError` if the cluster at ``address`` does not answer.
    """

    def __init__(
        self, address: str | None, cores: int, prefork: bool, dashboard: bool, store_bytes: int
    ) -> None:
        self.address, self.cores, self.dashboard, self.store_bytes = (
            address,
            cores,
            dashboard,
            store_bytes,
        )
        self.prefork = prefork and address is None
        self.why_not: str | None = (
            None if self.prefork else "the cluster's own workers" if address else "prefork=false"
        )
        self.server: ForkServer | None = None
        self.ray: Any = None
        # by their names: Ray's processes without which nothing goes on, if they are ours
        self.vital: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._stack = stack = ExitStack()
        atexit.register(self._clear)  # for an interrupt between here and there
        try:
            stack.enter_context(open_files())
            if self.address is None:
                self._start(stack)
            else:
                self._connect(stack, self.address)
        except BaseException:
            with undisturbed():
                stack.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._clear()

    def _clear(self) -> None:
        """Stop Ray. A further Ctrl-C waits until everything is stopped; a second call does
        nothing."""
        with undisturbed():
            atexit.unregister(self._clear)
            self._stack.close()

    def check(self) -> None:
        """Raises :class:`PreforkError` if the fork server has died, and :class:`ClusterError` if
        Ray's raylet, which starts workers, or its gcs_server has died. Without the latter Ray goes
        on for a minute, and then ends this process.
        """
        if self.server is not None:
            self.server.check()
        for name, process in self.vital.items():
            if process.poll() is not None:
                raise ClusterError(
                    f"Ray's own process ({name}, {process.pid}) has died with status"
                    f" {process.returncode}; the run can go on from its last checkpoint with"
                    " resume="
                )

    def _start(self, stack: ExitStack) -> None:
        reports = {} if self.dashboard else UNREPORTED
        token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        stack.enter_context(environment({**SETTINGS, **reports, **token}))
        folder = self._fork_server(stack) or stack.enter_context(private_folder())
        if len(os.fsencode(folder / "ray")) + SOCKET_BELOW > LONGEST_SOCKET:
            raise ClusterError(
                f"{folder} is too long for a socket: point TMPDIR to a shorter folder"
            )
        ray = self._import(stack)
        _require_set_up()
        arguments = {
            "address": "local",  # never one that happens to run
            "num_cpus": self.cores,
            "num_gpus": 0,
            "include_dashboard": self.dashboard,
            "object_store_memory": self.store_bytes,
            "_temp_dir": str(folder / "ray"),
        }
        stack.callback(ray.shutdown)
        with ExitStack() as starting:
            if self.server is not None:
                starting.enter_context(self.server.as_python())
            if not self.dashboard:
                starting.enter_context(few_processes())
            found = _begun(ray, arguments)
        with suppress(ImportError, AttributeError, LookupError):
            node: Any = importlib.import_module("ray._private.worker")._global_node
            for name in ("raylet", "gcs_server"):
                self.vital[name] = node.all_processes[name][0].process
        if found["node_ip_address"] != LOOPBACK:
            raise ClusterError(f"Ray listens on {found['node_ip_address']} instead of {LOOPBACK}")

    def _fork_server(self, stack: ExitStack) -> Path | None:
        """Start the server that workers are forked from, and return its folder. Where it cannot
        start, warn and return None.
        """
        if not self.prefork:
            return None
        self.why_not = available()
        if self.why_not is None:
            try:
                shared = (*PRELOAD, *_loaded_plug_ins())
                self.server = stack.enter_context(
                    ForkServer(
                        shared,
                        without=("pyarrow",),
                        meanwhile=partial(importlib.import_module, "ray"),
                    )
                )
            except PreforkError as error:
                self.why_not = str(error)
        if self.server is not None:
            return self.server.folder
        self.prefork = False
        warnings.warn(
            f"actors are ordinary Ray workers, five times as large: {self.why_not}", stacklevel=2
        )
        return None

    def _connect(self, stack: ExitStack, address: str) -> None:
        ray = self._import(stack)
        stack.callback(ray.shutdown)
        try:
            _init(ray, {"address": address})
        except Exception as error:
            raise refusal(address, one_line(error)) from error

    def _import(self, stack: ExitStack) -> ModuleType:
        import ray

        self.ray = ray
        if ray.is_initialized():
            raise ClusterError(
                "this process uses Ray for something else already; call ray.shutdown() first"
            )
        stack.enter_context(ray_logging())
        with suppress(ImportError, AttributeError):  # Ray remembers the token of an earlier run
            from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

            AuthenticationTokenLoader.instance().reset_cache()
            stack.callback(AuthenticationTokenLoader.instance().reset_cache)
        return ray


def _loaded_plug_ins() -> list[str]:
    """The plug-ins of devices that this process has imported for its experiment, so that its actors
    need not import them one by one."""
    return sorted(f"{name}?" for name in sys.modules if name.startswith(PLUG_INS))


def _require_set_up() -> None:
    """Raises :class:`ClusterError` if Ray did not read our :data:`SETTINGS` when it was
    imported.
    """
    with suppress(ImportError):
        from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]

        if get_authentication_mode() != AuthenticationMode.TOKEN:
            raise ClusterError(
                "Ray was imported by this process before the run could set it up (private, with a"
                " token); start the run in a process of its own, or before ray is imported"
            )


def _begun(ray: ModuleType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Start a Ray of our own; try a second time if it timed out, as Ray gives its processes 30
    seconds to start, which may be too few on a busy machine.
    """
    for last in (False, True):
        try:
            return _init(ray, arguments)
        except Exception as error:  # Ray raises a bare Exception
            ray.shutdown()
            if last or "timed out" not in str(error):
                raise ClusterError(f"Ray did not start: {one_line(error)}") from error
    raise AssertionError


def _init(ray: ModuleType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    with own_signals():
        context = ray.init(log_to_driver=False, configure_logging=False, **arguments)
    return dict(context.address_info)
