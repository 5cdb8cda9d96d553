"""Checks before Ray is used: that its packages are installed, and that a running cluster answers.

They do not import Ray in this process, as Ray reads its settings when it is imported.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys

from swarm.common.errors import ConfigError

OLDEST = (2, 55)
CONNECT_SECONDS = 20.0


def require_ray() -> None:
    """Raises :class:`ConfigError` if Ray is missing or too old; Ray is not imported for this."""
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
    """Raises :class:`ConfigError` if the packages of Ray's web page are not installed.

    Ray's own test is one import, which is done in a separate process, as in
    :func:`require_answer`."""
    command = [sys.executable, "-c", "import ray.dashboard.optional_deps"]
    asked = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if asked.returncode:
        lines = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        valid = f"needs packages that `pip install '.[dashboard]'` brings ({lines[-1][:200]})"
        raise ConfigError("/engine.dashboard", True, f"{valid}; false does without Ray's web page")


# This runs in a separate process: Ray reads its settings when it is imported, and the check comes
# before that.
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
    """Raises :class:`ConfigError` unless a cluster accepts a connection: at ``HOST:PORT``, or where
    ``auto`` finds one.
    """
    where = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    host, _, port = where.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            raise refusal(address, one_line(error)) from None
    command = [sys.executable, "-c", _PROBE, address, f"{CONNECT_SECONDS:.0f}"]
    asked = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    if asked.returncode:
        raise refusal(address, asked.stdout.strip() or f"within {CONNECT_SECONDS:.0f} s")


def refusal(address: str, why: str) -> ConfigError:
    """The error about a cluster at ``address`` that cannot be used, because of ``why``."""
    if "ersion mismatch" in why:
        return ConfigError(
            "/engine.address", address, f"must have our versions of Python and Ray: {why[:300]}"
        )
    text = f"must be a running Ray cluster of yours, but it does not answer ({why[:200]})"
    return ConfigError("/engine.address", address, text)


def one_line(error: Exception) -> str:
    """The text of an error on one line, at most 500 characters."""
    return " ".join(str(error).split())[:500]
