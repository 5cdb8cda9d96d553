"""A Ray for one session: one of our own, that leaves nothing behind, or one that runs already."""

from __future__ import annotations

import atexit
import importlib
import importlib.metadata
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.system.interrupts import undisturbed
from swarm.simulation.engine.prefork import LONGEST_SOCKET, ForkServer, PreforkError, available
from swarm.simulation.engine.ray.ray_logging import ray_logging

OLDEST = (2, 55)
CONNECT_SECONDS = 20.0
SOCKET_BELOW = 70  # bytes that Ray adds to its temporary folder for its longest socket
LOOPBACK = "127.0.0.1"
# Read by Ray when it is imported, or by the processes it starts.
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": (
        "0"
    ),  # the name is Ray's; it makes every port listen on the loopback only
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": (
        "1"
    ),  # what depends on a dead actor fails, too; one sentence says it
    "RAY_worker_maximum_startup_concurrency": "4",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_enable_worker_prestart": (
        "0"
    ),  # workers that come before the job cannot share an imported Ray
    "RAY_prestart_worker_first_driver": "0",
    "RAY_DISABLE_CUSTOM_ARROW_JSON_OPTIONS_SERIALIZATION": "1",  # or every worker imports pyarrow
    "RAY_DISABLE_CUSTOM_ARROW_DATA_SERIALIZATION": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_health_check_failure_threshold": (
        "100"
    ),  # a busy machine's only node is not given up: the driver would go with it
    "OMP_NUM_THREADS": "1",
}


class ClusterError(SwarmError):
    """Ray cannot be started, or does not do what it should."""


class Cluster:
    """Use as a context manager.

    ``address`` None starts a Ray of our own: reachable from this machine only, with a token that
    only this process and its children know, in a folder that goes with it. Otherwise ``auto`` or
    ``HOST:PORT``.

    ``prefork`` says afterwards whether workers are forked, ``why_not`` why they are not.
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
        self.raylet: Any = None  # the process that starts workers, if it is ours

    def __enter__(self) -> Self:
        self._stack = stack = ExitStack()
        atexit.register(self._clear)  # for an interrupt between here and there
        try:
            stack.enter_context(_open_files())
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
        """Stop it. A second Ctrl-C waits until everything is gone; a second call does nothing."""
        with undisturbed():
            atexit.unregister(self._clear)
            self._stack.close()

    def check(self) -> None:
        """Raises :class:`PreforkError` or :class:`ClusterError` if no worker can be started any
        more.
        """
        if self.server is not None:
            self.server.check()
        if self.raylet is not None and self.raylet.poll() is not None:
            raise ClusterError(
                f"Ray's own process (raylet, {self.raylet.pid}) has died with status"
                f" {self.raylet.returncode}; the run can go on from its last checkpoint with"
                " resume="
            )

    def _start(self, stack: ExitStack) -> None:
        stack.enter_context(_environment({**SETTINGS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}))
        folder = self._fork_server(stack) or stack.enter_context(_folder())
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
            found = _begun(ray, arguments)
        with suppress(ImportError, AttributeError, LookupError):
            node: Any = importlib.import_module("ray._private.worker")._global_node
            self.raylet = node.all_processes["raylet"][0].process
        if found["node_ip_address"] != LOOPBACK:
            raise ClusterError(f"Ray listens on {found['node_ip_address']} instead of {LOOPBACK}")

    def _fork_server(self, stack: ExitStack) -> Path | None:
        """Start the server that workers are forked from, and return its folder; or say why there is
        none.
        """
        if not self.prefork:
            return None
        self.why_not = available()
        if self.why_not is None:
            try:
                self.server = stack.enter_context(
                    ForkServer(("swarm.simulation.engine.ray.actor",), without=("pyarrow",))
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
            raise _refusal(address, _line(error)) from error

    def _import(self, stack: ExitStack) -> ModuleType:
        import ray

        self.ray = ray
        if ray.is_initialized():
            raise ClusterError(
                "this process uses Ray for something else already; call ray.shutdown() first"
            )
        stack.enter_context(ray_logging())
        with suppress(ImportError, AttributeError):  # an earlier run's token is remembered
            from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

            AuthenticationTokenLoader.instance().reset_cache()
            stack.callback(AuthenticationTokenLoader.instance().reset_cache)
        return ray


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


def require_ray() -> None:
    """Raises :class:`ConfigError` if Ray is missing or too old.

    Without importing it, at which it reads its settings.
    """
    oldest = ".".join(map(str, OLDEST))
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            "/engine", "ray", f"needs the package ray, {oldest} or newer, which is not installed"
        ) from None
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise ConfigError("/engine", "ray", f"needs ray {oldest} or newer; {version} is installed")


def require_dashboard() -> None:
    """Raises :class:`ConfigError` if what Ray's web page is made of is not installed, by Ray's own
    test: one import. It is done in a process of its own, as :func:`require_answer` does it."""
    command = [sys.executable, "-c", "import ray.dashboard.optional_deps"]
    asked = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if asked.returncode:
        lines = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        valid = f"needs packages that `pip install '.[dashboard]'` brings ({lines[-1][:200]})"
        raise ConfigError("/engine.dashboard", True, f"{valid}; false does without Ray's web page")


# A process of its own: Ray reads its settings when it is imported, and whether there is a cluster
# is asked before that.
_PROBE = """
import signal, sys
import ray
signal.alarm(int(sys.argv[2]))
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
except Exception as error:
    print(" ".join(str(error).split()))
    sys.exit(1)
"""


def require_answer(address: str) -> None:
    """Raises :class:`ConfigError` unless there is a cluster that lets us in: at ``HOST:PORT``, or
    where ``auto`` finds it.
    """
    where = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    host, _, port = where.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            raise _refusal(address, _line(error)) from None
    command = [sys.executable, "-c", _PROBE, address, f"{CONNECT_SECONDS:.0f}"]
    asked = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    if asked.returncode:
        raise _refusal(address, asked.stdout.strip() or f"within {CONNECT_SECONDS:.0f} s")


def _refusal(address: str, why: str) -> ConfigError:
    """The one sentence about a cluster that cannot be used."""
    if "ersion mismatch" in why:
        return ConfigError(
            "/engine.address", address, f"must have our versions of Python and Ray: {why[:300]}"
        )
    text = f"must be a running Ray cluster of yours, but it does not answer ({why[:200]})"
    return ConfigError("/engine.address", address, text)


def _line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:500]


def _begun(ray: ModuleType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Ray of our own; once more if it was late: it gives its processes 30 seconds, which a busy
    machine can use up.
    """
    for last in (False, True):
        try:
            return _init(ray, arguments)
        except Exception as error:  # a bare one
            ray.shutdown()
            if last or "timed out" not in str(error):
                raise ClusterError(f"Ray did not start: {_line(error)}") from error
    raise AssertionError


def _init(ray: ModuleType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    with _own_signals():
        context = ray.init(log_to_driver=False, configure_logging=False, **arguments)
    return dict(context.address_info)


@contextmanager
def _own_signals() -> Iterator[None]:
    """SIGTERM means what it meant before, during the block and after.

    Ray has two handlers: one in Python, that leaves the process from wherever it is, and one below
    it, in C++, that prints a trace and aborts, and of which Python knows nothing: to set a handler
    once more takes its place.
    """
    utils: Any = sys.modules.get("ray._private.utils")
    setter = getattr(utils, "set_sigterm_handler", None)
    if setter is not None:
        utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        if setter is not None:
            utils.set_sigterm_handler = setter
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables for as long as the block lasts."""

    def ours(name: str) -> bool:
        # Ray sets some
        return name in values or name.startswith("RAY_") or name == "PYTHONBREAKPOINT"

    before = {name: value for name, value in os.environ.items() if ours(name)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in filter(ours, list(os.environ)):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _folder() -> Iterator[Path]:
    """A private folder, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="swarm-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _open_files() -> Iterator[None]:
    """As many open files as we may have: Ray's processes keep connections to every actor, and
    inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
