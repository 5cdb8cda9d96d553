"""Errors of the disk: the message of a run that can no longer write into its folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm.common.errors import StorageError
from swarm.common.system.files import own_folder

# folders of a run folder in which files are written in place
FOLDERS = ("checkpoints", "wandb", "tensorboard")
# those that have a folder for each arm; wandb/ is left out, since W&B makes links of its own there
OF_ARMS = ("checkpoints", "tensorboard")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_own_folders(run: Path) -> None:
    """Refuse a run folder in which a link takes the place of a folder, since files would be written
    somewhere else.

    Raises :class:`ConfigError` that names the link.
    """
    inside = [place for name in OF_ARMS for place in (run / name).glob("*") if place.is_symlink()]
    for place in (*(run / name for name in FOLDERS), *inside):
        if os.path.lexists(place):
            own_folder(place)


@contextmanager
def storing(folder: Path, again: str | None = None) -> Iterator[None]:
    """A context that turns an OSError about a file in ``folder``, or of a full disk, into a
    :class:`StorageError`.

    ``again`` says in the message how to go on; by default it is ``resume=FOLDER`` if a run has
    begun in the folder. Any other OSError passes unchanged: a plug-in that opens a missing file has
    a bug, and its traceback is needed.
    """
    try:
        yield
    except OSError as error:
        said = _said(error, folder, again)
        if said is None:
            raise
        raise StorageError(said) from error


def _said(error: OSError, folder: Path, again: str | None) -> str | None:
    file = None if error.filename is None else Path(os.fsdecode(error.filename)).absolute()
    inside = file is not None and file.is_relative_to(folder.absolute())
    begun = (folder / "config.yaml").exists()
    again = again or (
        f"resume={folder} goes on from the last checkpoint"
        if begun
        else "the run can be started again"
    )
    name = str(file).removesuffix(".tmp")
    named = "" if file is None else f" ({name})"
    if error.errno in FULL:
        why = (
            "the disk is full"
            if error.errno != errno.EFBIG
            else "a file would be larger than it may be"
        )
        return f"{why}: {error.strerror}{named}; when there is room, {again}"
    if inside and error.errno == errno.ENOENT and not folder.exists():
        return (
            f"the run folder {folder} was removed or renamed while its run went on: the run ends"
            " here"
        )
    if inside:
        return f"{name} cannot be written: {error.strerror}; when it can be, {again}"
    return None
