"""Opens the files that a configuration names: regular files only, without ever waiting, and never more than is allowed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from swarm.errors import ConfigError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def opened(path: Path, key: str = "path", shown: object = None) -> BinaryIO:
    """The regular file at ``path``, open for reading.

    A named pipe or a device may have no end, or wait for a writer for ever. Both are refused before
    they are opened, and looked at again after it, since the name may mean another file by then.

    Raises ``ConfigError`` about ``key``, whose value is ``shown`` (None: the path), for everything
    that is not an existing regular file.
    """
    value = path if shown is None else shown
    try:
        _require_regular(path.stat().st_mode, key, value)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        file = os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb")
    except FileNotFoundError:
        raise ConfigError(key, value, "must be an existing regular file, and there is none") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(key, value, f"cannot be opened ({reason})") from None
    try:
        _require_regular(os.fstat(file.fileno()).st_mode, key, value)
    except ConfigError:
        file.close()
        raise
    return file


def _require_regular(mode: int, key: str, value: object) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise ConfigError(key, value, f"must be an existing regular file, and is {kind}")


def size_of(file: BinaryIO) -> int:
    """The bytes of an open regular file, as its folder states them."""
    return os.fstat(file.fileno()).st_size


def content(path: Path, most: int, limit: str, key: str = "path", shown: object = None) -> bytes:
    """All bytes of a regular file of at most ``most`` bytes, whatever size its folder states.

    ``limit`` is how the caller's bound reads in the message: ``max_mib=64``, or
    ``16 MiB`` where nobody can raise it. Raises ``ConfigError``
    about ``key`` for a larger file, for one that cannot be read, and as :func:`opened` does.
    """
    value = path if shown is None else shown
    try:
        with opened(path, key, shown) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(key, value, f"cannot be read ({error.strerror or error}); check the file") from None
    if len(data) > most:
        option, equals, _ = limit.partition("=")
        hint = f"; raise {option} if you trust it" if equals else ""
        raise ConfigError(key, value, f"is larger than {limit}{hint}")
    return data
