"""What a user types to choose a plug-in, such as ``topology=ring``: messages name it, not the class
that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from swarm.common.errors import ConfigError
from swarm.common.system import paths
from swarm.config.composing.arguments import TARGET
from swarm.config.composing.conf_files import keys_of


def choice(group: str, node: Mapping[str, Any]) -> str:
    """Return what a user types to choose ``node``: the name of the option in ``conf/<group>`` that
    has the same target, else the target itself.

    Of several with the same target it is the one that differs from ``node`` in the fewest keys. Of
    several that differ in equally many, it is the one that is named as the class is, such as *file*
    for ``File``, as the others are that class with values of their own.
    """
    target = str(node[TARGET])
    named = target.rpartition(".")[2].lower()
    found: dict[str, tuple[int, bool]] = {}
    for file in sorted((paths.conf() / group).glob("*.yaml")):
        keys = keys_of(file)
        if keys.get(TARGET) == node[TARGET]:
            differing = sum(node.get(key) != keys.get(key) for key in {*node, *keys})
            found[file.stem] = differing, file.stem.replace("_", "") != named
    return min(found, key=lambda name: found[name], default=target)


@contextmanager
def choices_as_typed(sections: Mapping[str, Any]) -> Iterator[None]:
    """A context in which a :class:`ConfigError` shows what a user types to choose a plug-in, such
    as ``protocol=d2`` or ``protocol=my_plugins.Talks``, instead of its class.

    ``sections`` are the plug-ins' sections by key, dotted for one within another section.
    """
    try:
        yield
    except ConfigError as error:
        key = error.key.removeprefix("/")
        node, group = sections.get(key) or {}, key.rpartition(".")[2]
        path = str(node.get(TARGET, ""))
        if not path or error.value not in (path, path.rpartition(".")[2]):
            raise
        value = choice(group, node)
        if value == error.value:
            raise
        raise ConfigError(error.key, value, error.valid) from error
