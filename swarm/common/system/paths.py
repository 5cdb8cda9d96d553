"""Where the configuration and the scenarios are: at the root of a clone, inside the package when
installed.

A wheel carries both under ``swarm/_bundle``, so that site-packages gets no top-level ``conf`` or
``scenarios`` that could clash with somebody else's.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from swarm.common.errors import ConfigError

LONGEST_NAME, LONGEST_PATH = 255, 3800
"""In bytes: of a name what file systems take; of a path what leaves room for a run's own files
under Linux's 4,096.
"""
_PACKAGE = Path(__file__).resolve().parents[2]


def root() -> Path:
    """The folder that holds ``conf`` and ``scenarios``."""
    bundle = _PACKAGE / "_bundle"
    return bundle if bundle.is_dir() else _PACKAGE.parent


def conf() -> Path:
    """The folder of ``config.yaml`` and the option groups."""
    return root() / "conf"


def scenarios() -> ModuleType:
    """The package ``scenarios``, imported from its own place under exactly that name.

    It is registered in ``sys.modules`` without touching ``sys.path``, and it takes the place of
    another package of that name: a folder called ``scenarios`` where the command happens to be run
    can never stand in for ours.
    """
    place = root() / "scenarios"
    there = sys.modules.get("scenarios")
    if there is not None and [Path(p).resolve() for p in getattr(there, "__path__", [])] == [place]:
        return there
    for name in [
        name for name in sys.modules if name == "scenarios" or name.startswith("scenarios.")
    ]:
        del sys.modules[name]
    return load_module("scenarios", place / "__init__.py")


def usable(path: str | Path, key: str) -> Path:
    """``path``, if there can be such a file or folder.

    Raises :class:`ConfigError` about ``key`` where a name is too long or is no text, be it that of
    a folder above: what writes into it (tables, trackers, web pages) takes names in UTF-8 only."""
    text = str(path)
    if "\0" in text:
        raise ConfigError(key, ascii(text)[1:-1], "must be a path, which has no zero byte")
    try:
        whole = str(Path(text).absolute()).encode()
    except UnicodeEncodeError as error:
        valid = (
            f"must lead through folders whose names are text in UTF-8; {error.object!a} does not"
        )
        raise ConfigError(key, ascii(text)[1:-1], valid) from None
    except FileNotFoundError:
        raise ConfigError(
            key, text, "cannot be found from here, as the current folder is gone"
        ) from None
    longest = max(whole.split(b"/"), key=len)
    if len(longest) > LONGEST_NAME or len(whole) > LONGEST_PATH:
        size = (
            f"this name has {len(longest)}"
            if len(longest) > LONGEST_NAME
            else f"this path has {len(whole)}"
        )
        valid = (
            f"must be a path of at most {LONGEST_PATH:,} bytes, each name of at most"
            f" {LONGEST_NAME}; {size}"
        )
        raise ConfigError(key, shortened(text), valid)
    return Path(text)


def shortened(text: str, most: int = 80) -> str:
    """``text``, at most so many characters of it."""
    return text if len(text) <= most else text[: most - 1] + "…"


def load_module(name: str, file: Path) -> ModuleType:
    """Import ``file`` under the dotted ``name``, whatever ``sys.path`` says; an ``__init__.py``
    makes a package.
    """
    folder = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
