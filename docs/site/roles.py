"""Docstrings as Markdown: the roles in them, such as those of classes, become names in code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~)?([^`]+)`", re.DOTALL)


class Roles(griffe.Extension):
    """``:class:`~swarm.common.errors.ConfigError``` becomes `` `ConfigError` ``."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Mend the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(_name, obj.docstring.value)


def _name(role: re.Match[str]) -> str:
    name = re.sub(r"\s+", " ", role[2])
    return f"`{name.split('.')[-1] if role[1] else name}`"
