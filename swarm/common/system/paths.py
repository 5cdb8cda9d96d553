"""The folders of the configuration and the scenarios: at the root of a clone, or inside the package
when it is installed; and checks of paths.

A wheel carries both under ``swarm/_bundle``, so that site-packages gets no top-level ``conf`` or
``scenarios`` that could clash with another package's.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from swarm.common.errors import ConfigError

LONGEST_NAME, LONGEST_PATH = 255, 3800
"""The longest name that file systems accept, and the longest path that leaves room for a run's own
files within Linux's 4,096; both in bytes.
"""
_PACKAGE = Path(__file__).resolve().parents[2]


def root() -> Path:
    """Return the folder that holds ``conf`` and ``scenarios``."""
    bundle = _PACKAGE / "_bundle"
    return bundle if bundle.is_dir() else _PACKAGE.parent


def conf() -> Path:
    """Return the folder of ``config.yaml`` and the option groups."""
    return root() / "conf"


def scenarios() -> ModuleType:
    """Import the package ``scenarios`` from :func:`root` under exactly that name.

    It is registered in ``sys.modules`` without touching ``sys.path``, and it replaces another
    package of that name. So a folder called ``scenarios`` in which the command happens to be run is
    never taken for it.
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
    """Return ``path`` if a file or folder can have that path.

    Raises :class:`ConfigError` on ``key`` if the path has a zero byte, or if a name in it, also of
    a folder above, is too long or not text in UTF-8, which tables, trackers and web pages need.
    """
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
    """Return ``text``, cut to at most ``most`` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def load_module(name: str, file: Path) -> ModuleType:
    """Import ``file`` under the dotted ``name``, whatever ``sys.path`` says; an ``__init__.py`` is
    imported as a package.

    Raises ImportError if ``file`` is not a Python file, and whatever the module raises itself.
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
