"""YAML read and written by libyaml, which is six times as fast as PyYAML's own Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

if TYPE_CHECKING or not yaml.__with_libyaml__:
    _Loader, _Dumper = yaml.SafeLoader, yaml.SafeDumper
else:
    from yaml.cyaml import CParser, CSafeDumper

    class _Loader(Composer, CParser, SafeConstructor, Resolver):
        """libyaml finds the tokens, and Python nests them: a file that is nested too deeply is a
        RecursionError here, and the end of the process with ``yaml.CSafeLoader``."""

        def __init__(self, text: str | bytes) -> None:
            CParser.__init__(self, text)
            for part in (Composer, SafeConstructor, Resolver):
                part.__init__(self)

    _Dumper = CSafeDumper


def load(text: str | bytes) -> Any:
    """The value of a YAML text; what ``yaml.safe_load`` returns and raises."""
    return yaml.load(text, _Loader)


def dump(value: Any, width: int | None = None) -> str:
    """A value as YAML, its keys in their own order and letters of any alphabet as they are."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width or 80
    )
    return text
