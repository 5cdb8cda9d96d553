"""The list of docs/python.md: what ``swarm`` offers, with signatures and one sentence each.

``python -m tests.docs.api`` prints it as the code has it, to be put into the page.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cached_property

import swarm

ROLE = re.compile(r":\w+:`~?([^`]*)`")  # Sphinx's :meth:`state_dict`
SENTENCE = re.compile(r"(?<=[^.][.:;])(?=\s+[A-Z]|$)")
ERRORS = ("ConfigError", "SwarmError")  # the page has a sentence on them
FIRST = ("run", "resume", "load", "check", "compose", "check_plugin")
"""What most scripts call, in the order in which they call it."""


def entries() -> Iterator[str]:
    """The lines of the list, as the page has them: what people call, from a run to what is made of
    it, then the classes of what these functions return.
    """
    for name in sorted(swarm.__all__, key=place):
        thing = getattr(swarm, name)
        if name in ERRORS:
            continue
        if not inspect.isclass(thing):
            yield f"- `swarm.{name}{signature(thing)}`: {sentence(thing)}"
            continue
        yield f"- `swarm.{name}`: {sentence(thing)}"
        yield from members(thing)


def place(name: str) -> tuple[bool, int, str]:
    """Where a name stands in the list: functions before classes, and among those the most called
    ones in front."""
    first = FIRST.index(name) if name in FIRST else len(FIRST)
    return inspect.isclass(getattr(swarm, name)), first, name


def members(kind: type) -> Iterator[str]:
    """The public fields of a dataclass, its properties, and its methods, inherited ones too."""
    if dataclasses.is_dataclass(kind):
        fields = ", ".join(f"`{field.name}: {field.type}`" for field in dataclasses.fields(kind))
        yield f"    - fields: {fields}"
    owners = [each for each in reversed(kind.__mro__) if each.__module__.startswith("swarm.")]
    for name in dict.fromkeys(name for owner in owners for name in vars(owner)):
        found = inspect.getattr_static(kind, name)
        if name.startswith("_"):
            continue
        if (call := getter(found)) is not None:
            yield f"    - `{name}: {inspect.signature(call).return_annotation}`: {sentence(call)}"
        elif inspect.isfunction(found):
            yield f"    - `{name}{signature(found)}`: {sentence(found)}"


def getter(found: object) -> Callable[..., object] | None:
    """The function of a property; None for anything else."""
    if isinstance(found, property):
        return found.fget
    return found.func if isinstance(found, cached_property) else None


def signature(call: Callable[..., object]) -> str:
    """The signature as a reader types it: without ``self``, annotations without quotes."""
    found = inspect.signature(call)
    kept = [each for name, each in found.parameters.items() if name != "self"]
    return re.sub(r"(?<=: |> )'([^']*)'", r"\1", str(found.replace(parameters=kept)))


def sentence(thing: object) -> str:
    """The first sentence of a docstring, in Markdown."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    first = SENTENCE.split(text)[0].rstrip(":;.") + "."
    plain = ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", first)
    return plain.replace("``", "`")


if __name__ == "__main__":
    print(*entries(), sep="\n")
