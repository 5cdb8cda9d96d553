"""Reads chosen files out of downloaded archives: nothing is unpacked to disk, no other file is
read, and no code of the archive runs.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

MOST = 256 << 20  # the largest member that is read, unpacked


def members(archive: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of every regular file in a wheel, .zip, .tar.* or .deb whose whole name
    matches ``pattern``.

    Raises ``ValueError`` where no file matches, or one is larger than 256 MiB.
    """
    count = 0
    for name, content in _read(archive, re.compile(pattern)):
        count += 1
        yield name, content
    if not count:
        raise ValueError(f"{archive.name} holds no file that matches {pattern}")


def member(archive: Path, pattern: str) -> bytes:
    """The content of the one file whose whole name matches ``pattern``.

    Raises ``ValueError`` where no file or several files match, or it is larger than 256 MiB.
    """
    ((_, content),) = members(archive, pattern)
    return content


def _read(archive: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    if archive.suffix in (".whl", ".zip"):
        yield from _zip(archive, pattern)
    elif archive.suffix == ".deb":
        yield from _tar(io.BytesIO(_ar(archive.read_bytes(), b"data.tar")), pattern)
    else:
        with archive.open("rb") as file:
            yield from _tar(file, pattern)


def _zip(archive: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            if pattern.fullmatch(entry.filename):
                _fits(entry.filename, entry.file_size)
                yield entry.filename, file.read(entry)


def _tar(file: io.IOBase, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file) as archive:  # type: ignore[call-overload]
        for entry in archive:
            if entry.isfile() and pattern.fullmatch(entry.name):
                _fits(entry.name, entry.size)
                content = archive.extractfile(entry)
                yield entry.name, content.read() if content else b""


def _ar(data: bytes, start: bytes) -> bytes:
    """The member of a Unix ar archive (the outer form of a Debian package) whose name begins with
    ``start``.

    After ``!<arch>``, each member has a header of 60 bytes: 16 of name, 32 of owner and date, 10 of
    size, 2 of end mark.
    """
    if not data.startswith(b"!<arch>\n"):
        raise ValueError("it is not a Debian package")
    place = 8
    while place + 60 <= len(data):
        name, size = data[place : place + 16], int(data[place + 48 : place + 58])
        if name.startswith(start):
            return data[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    raise ValueError(f"the Debian package has no {start.decode()}")


def _fits(name: str, size: int) -> None:
    if size > MOST:
        raise ValueError(f"{name} takes {size} bytes unpacked; at most {MOST} are read")
