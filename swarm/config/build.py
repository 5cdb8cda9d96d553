"""Builds the object that a config section with a ``_target_`` describes.

A config must not be able to run code that was not meant as a plug-in. So there is a list of what is
allowed, not of what is forbidden. A target is imported only if its path begins with an allowed
package. It is called only if *the object it resolves to* is a class or function whose own
``__module__`` is allowed, and whose declared type is what the section needs. For example,
``swarm.config.build.importlib.import_module`` resolves to a function, but is refused, because that
function belongs to ``importlib``.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar, cast, get_origin

from swarm.common import plugin
from swarm.common.errors import ConfigError, with_article
from swarm.common.system import paths
from swarm.common.system.machine import ran_out_of_memory
from swarm.config.composing.arguments import MISSING, TARGET, defaults, fit, hints, parameters
from swarm.config.composing.conf_files import keys_of, option_files
from swarm.config.explain import describe, shown, unknown
from swarm.config.plug_ins import OWN, load_plugins

T = TypeVar("T")

# of torch only layers are allowed: the class must live in torch.nn.modules and be an nn.Module
_TORCH = "torch.nn"


def build(
    node: Any, expect: type[T], section: str, plugins: Sequence[str] = (), **context: Any
) -> T:
    """Build the object of class ``expect`` that ``node`` describes.

    ``node`` is ``{"_target_": "package.module.Class", key: value, …}``. Each key must be a
    parameter of the target, and each value must fit that parameter's annotation (JSON types
    strictly: no 3.5 or true for an int). A parameter annotated with a class may be given as a
    nested node. The entries of ``context`` come from the run: they are passed to targets that have
    a parameter of that name, and the config cannot set them. ``plugins`` lists further modules to
    allow, as :func:`load_plugins` takes them.

    Raises :class:`ConfigError`, with ``section`` in front of the key, for a target that may not be
    used, for a key or value that it does not take, and for a plug-in that fails.
    """
    allowed = load_plugins(plugins)
    return cast(T, _build(_as_dict(node, section), expect, section, allowed, context))


def class_of(
    node: Mapping[str, Any], expect: type[T], section: str, plugins: Sequence[str] = ()
) -> type[T]:
    """Return the class of the object that :func:`build` would make of ``node``, without making it.

    For a function it is the class that it is annotated to return. Raises :class:`ConfigError` for a
    target that may not be used.
    """
    return _target(node, expect, section, load_plugins(plugins))[1]


def takes(
    name: str, node: Mapping[str, Any], expect: type, section: str, plugins: Sequence[str] = ()
) -> bool:
    """Whether the target of ``node`` takes a parameter ``name``; raises as :func:`class_of`."""
    known, open_ended = parameters(_target(node, expect, section, load_plugins(plugins))[0])
    return open_ended or name in known


def option(group: str, name: str) -> dict[str, Any]:
    """Read ``conf/<group>/<name>.yaml`` as a plain dict: the section that ``group=name`` chooses on
    the command line.

    Raises :class:`ConfigError` if the group has no such option.
    """
    files = option_files(group)
    if name not in files:
        raise unknown(group, name, sorted(files), "option")
    return deepcopy(keys_of(files[name], resolved=True))


def options(group: str) -> list[str]:
    """Return the names of a group's options in alphabetical order."""
    return sorted(option_files(group))


def chosen(group: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section of ``group`` that ``changes`` choose, which are written as on the command
    line: the option ``changes[group]`` with the keys ``group.key`` replaced. Other groups' changes
    are of no consequence.

    Raises :class:`ConfigError` if the group has no such option, or for a key that lies in none of
    its sections.
    """
    node = option(group, changes[group])
    for name, value in changes.items():
        first, *path = name.split(".")
        if first != group or not path:
            continue
        section: Any = node
        for key in path[:-1]:
            section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise ConfigError(name, value, f"there is no {name.rpartition('.')[0]} to set it in")
        section[path[-1]] = value
    return node


# --- the target -----------------------------------------------------------------------------------


def _target(
    node: Mapping[str, Any], expect: type, section: str, plugins: Sequence[str]
) -> tuple[Any, type]:
    """The class or function that ``node`` names, and the class of what it makes."""
    key = f"{section}.{TARGET}"
    if TARGET not in node:
        raise ConfigError(
            section,
            shown(dict(node)),
            f"needs a {TARGET}: the dotted path of {with_article(expect.__name__)}",
        )
    found = _locate(node[TARGET], key, plugins)
    return found, _accept(found, node[TARGET], expect, key, plugins)


def _locate(path: Any, key: str, plugins: Sequence[str]) -> Any:
    """The object that a target path names: a public attribute of a module, or of a class in one, in
    an allowed package.
    """
    if not isinstance(path, str) or not path:
        raise ConfigError(
            key,
            shown(path),
            "must be the dotted path of a class, such as swarm.communication.topology.regular.Ring",
        )
    parts = path.split(".")
    if not all(part.isidentifier() and not part.startswith("_") for part in parts):
        raise ConfigError(key, shown(path), "must be the dotted path of a public class")
    if not _within(path, (*OWN, _TORCH, *plugins)):
        raise ConfigError(
            key,
            shown(path),
            "must be in swarm, scenarios, torch.nn, or a module listed under plugins=[…]",
        )
    if parts[0] == "scenarios":
        paths.scenarios()
    found, depth = _import_longest(parts, key)
    for i, part in enumerate(parts[depth:], depth):
        if not isinstance(found, types.ModuleType | type) or not hasattr(found, part):
            place = ".".join(parts[:i])
            public = [
                n for n, v in vars(found).items() if isinstance(v, type) and not n.startswith("_")
            ]
            there = [n for n in public if getattr(found, n).__module__ == place]
            valid = (
                unknown(part, "", there, "class").valid if there else f"no module or class {part}"
            )
            raise ConfigError(key, path, f"{place} has {valid}")
        found = getattr(found, part)
    return found


def _import_longest(parts: Sequence[str], key: str) -> tuple[Any, int]:
    """The deepest module on the path, and how many parts of the path name it."""
    for depth in range(len(parts), 0, -1):
        name = ".".join(parts[:depth])
        try:
            return importlib.import_module(name), depth
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                # the path is right: the module exists, but imports one that does not
                raise
    raise ConfigError(key, ".".join(parts), "no such module")


def _within(path: str, packages: Iterable[str]) -> bool:
    return any(path == package or path.startswith(package + ".") for package in packages)


def _accept(found: Any, path: str, expect: type, key: str, plugins: Sequence[str]) -> type:
    """The class of the object that ``found`` makes.

    Refuses everything but a class ``expect``, or a function annotated to return one, that is
    defined in an allowed module.
    """
    module = getattr(found, "__module__", None)
    ours = isinstance(module, str) and _within(module, (*OWN, *plugins))
    layer = isinstance(found, type) and isinstance(module, str) and _is_layer(found, module)
    if (
        not isinstance(found, type | types.FunctionType)
        or found.__name__ == "<lambda>"
        or not (ours or layer)
    ):
        raise ConfigError(
            key,
            path,
            "is not a class or function that may be used here: it must be defined in swarm,"
            " scenarios, torch.nn, or a module listed under plugins=[…]",
        )
    made = found if isinstance(found, type) else hints(found).get("return")
    made = get_origin(made) or made
    if not isinstance(made, type) or not issubclass(made, expect):
        needs = (
            f"must be {with_article(expect.__name__)} ({expect.__module__}.{expect.__qualname__})"
        )
        raise ConfigError(key, path, f"{needs}, or a function annotated to return one")
    if isinstance(found, type) and inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(key, path, f"is abstract: choose a subclass that defines {missing}")
    return made


def _is_layer(found: type, module: str) -> bool:
    if not module.startswith(_TORCH + ".modules."):
        return False
    from torch import nn

    return issubclass(found, nn.Module)


# --- its arguments --------------------------------------------------------------------------------


def _build(
    node: Mapping[str, Any],
    expect: type,
    section: str,
    plugins: Sequence[str],
    context: Mapping[str, Any],
) -> Any:
    found, _ = _target(node, expect, section, plugins)
    path, key = node[TARGET], f"{section}.{TARGET}"
    known, open_ended = parameters(found)
    given = {name: value for name, value in node.items() if name != TARGET}
    valid = [name for name in known if name not in context]
    arguments: dict[str, Any] = {name: context[name] for name in known if name in context}

    def make(inner: Mapping[str, Any], wanted: type, where: str) -> Any:
        return _build(inner, wanted, where, plugins, context)

    for name, value in given.items():
        if name in arguments:
            raise ConfigError(
                f"{section}.{name}", shown(value), "is set by the run itself and has no place here"
            )
        if name.startswith("_") or (name not in known and not open_ended):
            raise _left_over(section, name, node) or unknown(f"{section}.{name}", value, valid)
        annotation = known.get(name, MISSING)
        arguments[name] = fit(value, annotation, f"{section}.{name}", make)
    for name, annotation in known.items():
        if name not in arguments and name not in defaults(found):
            what = "a value" if annotation is MISSING else describe(annotation)
            raise ConfigError(f"{section}.{name}", "???", f"is missing: {path} needs {what}")
    made = _called(found, arguments, section, path)
    if not isinstance(made, expect):
        raise ConfigError(
            key,
            path,
            f"returned {with_article(type(made).__name__)} where"
            f" {with_article(expect.__name__)} is needed",
        )
    plugin.remember_built(made, section, path)
    return made


def _left_over(section: str, name: str, node: Mapping[str, Any]) -> ConfigError | None:
    """The error for a key that the user never set: one of an option whose ``_target_`` was replaced
    by a class that does not take it. None for any other key, and where no option without keys, such
    as *custom* or *none*, helps.
    """
    bare = [each for each in options(section) if option(section, each).keys() <= {TARGET}]
    if not bare:
        return None
    first = next((each for each in ("custom", "none") if each in bare), bare[0])
    left = [
        other
        for other in options(section)
        if name in (keys := option(section, other))
        and keys.keys() <= node.keys()
        and keys[TARGET] != node[TARGET]
    ]
    if not left:
        return None
    whose = f"{section}={left[0]}" if len(left) == 1 else f"another option of {section}"
    valid = (
        f"has no parameter {name}, which {whose} has; {section}={first} in front leaves the keys of"
        " that option out"
    )
    return ConfigError(f"{section}.{TARGET}", node[TARGET], valid)


def _called(found: Any, arguments: Mapping[str, Any], section: str, path: str) -> Any:
    """Call ``found(**arguments)``; what a plug-in raises meanwhile, ``SystemExit`` included,
    becomes a :class:`ConfigError` on ``section``.
    """
    try:
        return found(**arguments)
    except ConfigError as error:
        raise error.under(section) from error
    except _foreign_errors(found) as error:
        if ran_out_of_memory(error):
            raise
        raise ConfigError(
            section, path, f"refuses these settings: {shown(error)}{plugin.where(error)}"
        ) from error
    except BaseException as error:
        fault = plugin.fault_of(error)
        if fault is None:
            raise
        raise ConfigError(section, path, fault.valid) from error


def _foreign_errors(found: Any) -> tuple[type[Exception], ...]:
    """The errors by which code that does not know :class:`ConfigError` refuses a value; in a class
    of this package they are bugs, and pass.
    """
    return (
        ()
        if _within(found.__module__, OWN)
        else (ValueError, TypeError, RuntimeError, AssertionError)
    )


def _as_dict(node: Any, section: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        from omegaconf import DictConfig, OmegaConf

        node = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    if not isinstance(node, dict):
        raise ConfigError(section, shown(node), f"must be a section with a {TARGET}")
    return cast(dict[str, Any], node)
