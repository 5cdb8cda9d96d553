"""Files that appear whole or not at all, and that no symbolic link leads astray.

A run folder may come from somebody else. Whatever lies in it under a name that is about to be written, a link to a file of
the user's above all, is replaced or refused, never written through.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from swarm.errors import ConfigError

# Windows has neither; there, making a link takes a right of its own.
_OWN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait for its other end
_BINARY = getattr(os, "O_BINARY", 0)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file, open for writing, that takes the place of ``path`` when the block ends.

    It is on the disk before it does. A reader, or a crash, sees the old content or the new, nothing between; if the block
    raises, ``path`` stays as it was. Until then it is called ``NAME.tmp``, and is made under that name, not opened: what was
    there (the leftover of a killed run, or a link) is removed first.

    Raises :class:`ConfigError` where a folder has that name, and OSError where the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    with _created(temporary) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def _created(path: Path) -> IO[bytes]:
    if path.is_dir() and not path.is_symlink():
        raise ConfigError(f"/{path.name}", path, "is a folder where a file has to be written; remove it")
    path.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OWN | _BINARY
    return os.fdopen(os.open(path, flags, 0o666), "w+b")


def appending(path: Path) -> IO[bytes]:
    """``path``, or a new file, open for reading and for writing at its end.

    Raises :class:`ConfigError` where it is a link, a folder, or anything else that is no file of its own.
    """
    try:
        number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _OWN | _AT_ONCE | _BINARY, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _no_file(path)
    return os.fdopen(number, "a+b")


def own_folder(path: Path) -> Path:
    """``path``, made if need be. Raises :class:`ConfigError` where it is a link or no folder."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError(f"/{path.name}", path, "must be a folder of its own, not a link to another or a file")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _no_file(path: Path) -> ConfigError:
    return ConfigError(f"/{path.name}", path, "must be a file of its own, not a link, a folder or a device; remove it")
