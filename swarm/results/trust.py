"""Whose command wrote a run folder: a signature over its ``config.yaml``, made with a key that only
this user has.

Going on with a run imports the plug-ins that its config names. That must not run the code of
whoever sent the folder, so:

- A command that writes a config with foreign code in it (:func:`named`) signs it. The signature,
  ``.signature`` beside the config, is an HMAC-SHA256 of the config as written and of where each
  plug-in was found. The key is 32 random bytes in ``$XDG_STATE_HOME/swarm-sim/key`` (by default
  ``~/.local/state/swarm-sim/key``) that nobody else can read.
- ``resume=`` runs that code only if the signature is right, or if the user says ``--trust``, which
  signs the folder.
- A plug-in inside the run folder came with it. No signature covers it, and ``--trust`` is needed
  each time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from swarm.common.system import yaml_text
from swarm.config import foreign
from swarm.simulation import checkpoint

SIGNATURE = ".signature"
KEY_BYTES = 32
PURPOSE = "swarm-sim run folder 1"  # what this key signs here can be mistaken for nothing else
INSIDE = "it lies in that folder"


class _NoKeyError(Exception):
    """There is no key, or none that can be relied on."""


def named(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The settings of ``config``, key and value, by which a run comes to code that is not in this
    package.
    """
    found: list[tuple[str, Any]] = []
    plugins, engine = config.get("plugins"), config.get("engine")
    if isinstance(plugins, list):
        found += [("plugins", entry) for entry in plugins]
    address = engine.get("address") if isinstance(engine, Mapping) else None
    if address not in (None, "auto"):
        found.append(("engine.address", address))
    return found


def below(config: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether a run may go on because ``ours``, the config of the command that has it as one of
    many, names its code.
    """
    return bool(named(config)) and named(config) == named(ours)


@contextmanager
def admitted(folder: Path, overrides: Mapping[str, Any], trust: bool) -> Iterator[None]:
    """Work on what is in ``folder``: with the code that its config names if the folder is trusted,
    without it otherwise.

    Outside code is not refused here but where it is about to run: most folders name none.
    ``overrides`` are what the user has typed besides: those settings, with those values, are the
    user's own. With ``trust`` the folder is signed.
    """
    data, config = _config(folder)
    if trust:
        sign(folder, data, config)
    doubt = None if trust else _doubt(folder, data, config)
    if doubt is None:
        yield
        return
    why = (
        f"is code that {folder / 'config.yaml'} names, and {doubt}; if you know what it does,"
        " --trust runs it (in "
    )
    with foreign.refused(f"{why}Python trust=True)", overrides):
        yield


def sign(folder: Path, data: bytes, config: Mapping[str, Any]) -> None:
    """Say in ``folder`` that this user's own command writes ``data``, which is ``config``, into its
    ``config.yaml``.

    To be called before the file is written. The signature of the config that is there stays until
    the next call, so that neither a crash before nor one after the writing leaves a config without
    one. Where there can be no key, a warning says what follows from that.
    """
    places = _places(folder, config)
    if places is None:
        return
    try:
        key = _key(make=True)
    except (OSError, _NoKeyError) as error:
        said = (
            f"{folder} cannot be signed ({error}): resume= will need --trust to run the plug-ins of"
            " this run"
        )
        warnings.warn(said, stacklevel=2)
        return
    there, (before, config_before) = _signatures(folder), _config(folder)
    places_before = _places(folder, config_before)
    old = _signature(key, before, places_before) if places_before is not None else ""
    lines = dict.fromkeys([_signature(key, data, places), *([old] if old in there else [])])
    if list(lines) != there:
        checkpoint.write_bytes(folder / SIGNATURE, "".join(f"{line}\n" for line in lines).encode())


def _doubt(folder: Path, data: bytes, config: Mapping[str, Any]) -> str | None:
    """Why the folder is not trusted; None where it is."""
    places = _places(folder, config)
    if places is None:
        return INSIDE
    there = _signatures(folder)
    if not there:
        return "no command of yours has signed that folder"
    try:
        key = _key(make=False)
    except FileNotFoundError:
        return "no command of yours has signed any folder here"
    except (OSError, _NoKeyError) as error:
        return f"whether your own command wrote it cannot be told ({error})"
    mine = _signature(key, data, places)
    if any(hmac.compare_digest(mine, line) for line in there):
        return None
    return "that file, or the place of a plug-in, is not as your own command left it"


def _config(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """``config.yaml`` as written, and as a mapping; empty where it cannot be read, which others
    say.
    """
    file = folder / "config.yaml"
    with suppress(OSError, ValueError, yaml.YAMLError, RecursionError):
        data = file.read_bytes() if file.is_file() else b""
        config = yaml_text.load(data.decode())
        return data, config if isinstance(config, dict) else {}
    return b"", {}


def _places(folder: Path, config: Mapping[str, Any]) -> list[list[str]] | None:
    """Each plug-in with the file that it is from here; None if one of them lies in ``folder``."""
    places = []
    for key, entry in named(config):
        if key != "plugins":
            continue
        file = _file(str(entry))
        if file is not None and file.is_relative_to(folder.resolve()):
            return None
        places.append([str(entry), "installed" if file is None else str(file)])
    return places


def _file(entry: str) -> Path | None:
    """The file that a plug-in would be loaded from, as :func:`swarm.config.plug_ins.load_plugins`
    looks for it.
    """
    here = Path.cwd()
    if entry.endswith(".py"):
        return (here / entry).resolve()
    parts = entry.split(".")
    for file in (
        here.joinpath(*parts, "__init__.py"),
        here.joinpath(*parts[:-1], f"{parts[-1]}.py"),
    ):
        if file.is_file():
            return file.resolve()
    return None


def _signature(key: bytes, data: bytes, places: list[list[str]]) -> str:
    facts = [PURPOSE, hashlib.sha256(data).hexdigest(), places]
    return hmac.new(key, json.dumps(facts).encode(), hashlib.sha256).hexdigest()


def _signatures(folder: Path) -> list[str]:
    """The lines of the signature's file, which are two at most."""
    file = folder / SIGNATURE
    with suppress(OSError, ValueError):
        if file.is_file() and file.stat().st_size < 1000:
            return file.read_bytes().decode("ascii").split()
    return []


# --- the key --------------------------------------------------------------------------------------


def key_file() -> Path:
    """Where this user's key is, or will be."""
    state = os.environ.get("XDG_STATE_HOME")
    return (
        (Path(state) if state and Path(state).is_absolute() else Path.home() / ".local/state")
        / "swarm-sim"
        / "key"
    )


def _key(make: bool) -> bytes:
    """The key; made first where there is none and ``make`` says so.

    Raises ``OSError`` or :class:`_NoKeyError`.
    """
    try:
        file = key_file()
    except RuntimeError as error:
        raise _NoKeyError(str(error)) from None
    try:
        return _read_key(file)
    except FileNotFoundError:
        if not make:
            raise
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f"key-{secrets.token_hex(8)}.tmp")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES))
            stream.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # another process was first: its key is as good
            os.link(temporary, file)
    finally:
        temporary.unlink()
    return _read_key(file)


def _read_key(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        facts = os.fstat(descriptor)
        private = (
            stat.S_ISREG(facts.st_mode)
            and facts.st_uid == os.geteuid()
            and not facts.st_mode & 0o077
        )
        key = stream.read(KEY_BYTES + 1) if private else b""
    if len(key) != KEY_BYTES:
        raise _NoKeyError(
            f"{file} must be a file of {KEY_BYTES} bytes that only you can read; without it, a new"
            " one is made"
        )
    return key
