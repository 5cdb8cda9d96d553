"""Reads one request to the fork server with a deadline, and checks it."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REQUEST_SECONDS = 5.0
LARGEST_REQUEST = 8 << 20


class RefusedError(Exception):
    """A request that cannot be served; its text is sent to the client."""


@dataclass(frozen=True)
class Request:
    """The process that a client asks for: its arguments (the script first), folder, environment,
    and three standard files.
    """

    argv: list[str]
    cwd: str
    environ: dict[str, str]
    files: list[int]


def receive(client: socket.socket) -> Request:
    """Read and check one request.

    Raises :class:`RefusedError` for one that is incomplete, wrong, late or another user's; received
    files are closed then.
    """
    files: list[int] = []
    try:
        _, uid, _ = struct.unpack(
            "3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )
        if uid != os.getuid():
            raise RefusedError(f"user {uid} is not the one who started the server")
        until = time.monotonic() + REQUEST_SECONDS
        client.settimeout(REQUEST_SECONDS)
        head, files, flags, _ = socket.recv_fds(client, 8, 3)
        while 0 < len(head) < 8:
            head += _some(client, 8 - len(head), until)
        size = int.from_bytes(head, "big")
        if (
            len(head) != 8
            or not 0 < size <= LARGEST_REQUEST
            or len(files) != 3
            or flags & socket.MSG_CTRUNC
        ):
            raise RefusedError("not a request: a length and three open files were expected")
        body = bytearray()
        while len(body) < size:
            body += _some(client, min(size - len(body), 1 << 16), until)
        return _parse(bytes(body), files)
    except RefusedError:
        close_files(files)
        raise
    except (OSError, ValueError) as error:  # a timeout is an OSError
        close_files(files)
        raise RefusedError(f"not a request: {error}") from None


def _some(client: socket.socket, most: int, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        raise RefusedError(f"the request took longer than {REQUEST_SECONDS:g} s")
    client.settimeout(left)
    part = client.recv(most)
    if not part:
        raise RefusedError("the request ended early")
    return part


def _parse(body: bytes, files: list[int]) -> Request:
    count, *rest = body.split(b"\0")
    n = int(count)
    if not 1 <= n < len(rest):
        raise RefusedError("not a request: fewer arguments than announced")
    argv, cwd, pairs = [os.fsdecode(a) for a in rest[:n]], os.fsdecode(rest[n]), rest[n + 1 :]
    environ = {}
    for pair in pairs:
        name, equals, value = pair.partition(b"=")
        if not name or not equals:
            raise RefusedError("not a request: an environment entry without a name")
        environ[os.fsdecode(name)] = os.fsdecode(value)
    if not Path(cwd).is_dir():
        raise RefusedError(f"no folder {cwd}")
    return Request(argv, cwd, environ, files)


def close_files(files: Sequence[int]) -> None:
    """Close the files with these file numbers."""
    for fd in files:
        os.close(fd)
