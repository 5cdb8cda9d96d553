"""Safe reading and writing of files: only regular files are read, and a file that is written
appears whole or not at all.

A file may come from somebody else. What a configuration names may be a device without end, or a
pipe that waits for ever. What lies in a run folder under a name that is about to be written may be
a link to a file of the user's: it is replaced or refused, but never written through.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

from swarm.common.errors import ConfigError, meant

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LONGEST_S = 30.0  # that a writer of the same file is waited for; it may hang
# Windows has neither flag; there, a user needs a special right to make a link.
_OWN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_MOST_MEANT = 1000  # files of a folder that are looked at for the one that was meant
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # without it, opening a pipe waits for its other end
_BINARY = getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


# --- reading --------------------------------------------------------------------------------------


def opened(path: Path, key: str = "path", shown: object = None) -> BinaryIO:
    """Open the regular file at ``path`` for reading.

    A named pipe or a device may have no end, or wait for a writer for ever, and is refused before
    it is opened. The open file is checked once more, since the name may mean another file by then.

    Raises :class:`ConfigError` on ``key`` for everything that is not an existing regular file. The
    message gives ``shown`` as the value of ``key``, or the path if ``shown`` is None.
    """
    value = path if shown is None else shown
    try:
        _require_regular(path.stat().st_mode, key, value)
        flags = os.O_RDONLY | _AT_ONCE | _BINARY | getattr(os, "O_CLOEXEC", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        valid = f"must be an existing regular file, and there is none{meant_file(path)}"
        raise ConfigError(key, value, valid) from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(key, value, f"cannot be opened ({reason})") from None
    try:
        _require_regular(os.fstat(file.fileno()).st_mode, key, value)
    except ConfigError:
        file.close()
        raise
    return file


def meant_file(path: Path) -> str:
    """Return `` (did you mean clean.csv?)`` if a file of the same folder is spelt much like
    ``path``, else an empty text.
    """
    try:
        there = list(islice(path.parent.iterdir(), _MOST_MEANT))
    except (OSError, ValueError):  # no folder, or a name that none can have
        return ""
    # without their suffixes, as all names of one suffix are alike
    return meant(path.name, [file.name for file in there if meant(path.stem, [file.stem])])


def _require_regular(mode: int, key: str, value: object) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise ConfigError(key, value, f"must be an existing regular file, and is {kind}")


def size_of(file: BinaryIO) -> int:
    """Return the size in bytes that the file system states for an open regular file."""
    return os.fstat(file.fileno()).st_size


def content(path: Path, most: int, limit: str, key: str = "path", shown: object = None) -> bytes:
    """Read all bytes of a regular file of at most ``most`` bytes.

    ``limit`` is how the bound reads in the message: ``max_mib=64`` if the user can raise it, else
    ``16 MiB``. Raises :class:`ConfigError` on ``key`` for a larger file, for one that cannot be
    read, and as :func:`opened` does.
    """
    value = path if shown is None else shown
    try:
        with opened(path, key, shown) as file:
            # read() allocates as many bytes as it is asked for, however short the file is
            data = file.read(min(most, size_of(file)) + 1)
    except OSError as error:
        raise ConfigError(
            key, value, f"cannot be read ({error.strerror or error}); check the file"
        ) from None
    if len(data) > most:
        option, equals, _ = limit.partition("=")
        hint = f"; raise {option} if you trust it" if equals else ""
        raise ConfigError(key, value, f"is larger than {limit}{hint}")
    return data


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A context with a new file, open for writing, that takes the place of ``path`` when the block
    ends.

    The new file is on the disk before it takes that place, so that a reader, or a crash, sees the
    old content or the new, and nothing between. If the block raises, ``path`` stays as it was.
    While the block runs, the file is called ``NAME.tmp``. It is always created anew: what had that
    name before (the leftover of a killed run, or a link) is removed first. Of two processes that
    replace one file at a time, the second waits for the first, but no longer than half a minute:
    then the second goes on, and the first ends with FileNotFoundError.

    Raises :class:`ConfigError` if a folder is called ``NAME.tmp``, and OSError if the file cannot
    be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    with _created(temporary) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if _is_lost(temporary, file.fileno()):  # what is there is another process's
                raise FileNotFoundError(errno.ENOENT, "another process took its place", temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                if not _is_lost(temporary, file.fileno()):
                    temporary.unlink()
            raise


def _created(path: Path) -> IO[bytes]:
    if path.is_dir() and not path.is_symlink():
        raise ConfigError(
            f"/{path.name}", path, "is a folder where a file has to be written; remove it"
        )
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _OWN | _BINARY
    late = time.monotonic() + 2 * _LONGEST_S
    while True:
        _remove_left(path)
        in_time = time.monotonic() < late  # else the file system may number one file anew each time
        if not in_time:
            path.unlink(missing_ok=True)
        try:
            file = os.fdopen(os.open(path, flags, 0o666), "w+b")
        except FileExistsError:
            continue  # another process was quicker, and is waited for
        _lock(file.fileno())
        if _is_at(path, file.fileno()) or not in_time:
            return file
        file.close()


def _remove_left(path: Path) -> None:
    """Remove the file that another process was writing at ``path`` when it was killed, or a link;
    one that is being written is waited for, as its writer is about to put it in its place."""
    try:
        regular = stat.S_ISREG(path.lstat().st_mode)
        # for writing, too, as NFS locks no other file
        there = os.open(path, os.O_RDWR | _AT_ONCE | _OWN) if regular and fcntl else None
    except FileNotFoundError:
        return  # also when another process has just put it in its place
    except OSError:  # not ours to write to
        there = None
    if there is None:
        path.unlink(missing_ok=True)
        return
    try:
        _lock(there)
        if _is_at(path, there):
            path.unlink(missing_ok=True)
    finally:
        os.close(there)


def _lock(descriptor: int) -> None:
    """Lock an open file, which the operating system frees with its process. One that is locked
    elsewhere is waited for, ``_LONGEST_S`` at most; where there are no locks, nothing is done."""
    deadline = time.monotonic() + _LONGEST_S
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
        except OSError:  # a file system without locks
            return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one at ``path``."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_lost(path: Path, descriptor: int) -> bool:
    """Whether the open file has no name any more, so that one at ``path`` is another."""
    return os.fstat(descriptor).st_nlink == 0 and not _is_at(path, descriptor)


def appending(path: Path) -> IO[bytes]:
    """Open ``path``, or a new file there, for reading and for writing at its end.

    Raises :class:`ConfigError` if it is a link, a folder, or anything else but a regular file.
    """
    try:
        number = os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _OWN | _AT_ONCE | _BINARY, 0o666
        )
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _no_file(path)
    return os.fdopen(number, "a+b")


def own_folder(path: Path) -> Path:
    """Return the folder ``path``, and create it if it is missing; its parent must exist.

    Raises :class:`ConfigError` if ``path`` is a link or not a folder.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError(
            f"/{path.name}", path, "must be a folder of its own, not a link to another or a file"
        )
    path.mkdir(exist_ok=True)
    return path


def _no_file(path: Path) -> ConfigError:
    return ConfigError(
        f"/{path.name}",
        path,
        "must be a file of its own, not a link, a folder or a device; remove it",
    )
