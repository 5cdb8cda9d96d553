"""The core names no plug-in: a class that a yaml of conf/ points to is imported where plug-ins are,
and nowhere in the machinery that runs them.

What the machinery must know of a piece, it asks an attribute or a method of the piece's base class.
So somebody's own optimiser, mechanism of privacy, secure sum or topology gets what ours get.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest
import yaml

from swarm.common.system.paths import conf
from tests.test_layering import FILES, dotted

CORE = ("swarm.simulation", "swarm.experiments", "swarm.results", "swarm.cli")
EXCEPTIONS = {
    "LocalEngine": "checks and audits play small swarms in this process, whatever the run's engine",
    "Tracker": "tracker=none points to the base class itself, which tells nobody",
}
"""Classes that conf/ names and the core imports all the same, and why."""


@cache
def targets() -> frozenset[str]:
    """The paths that the yaml files of conf/ name as ``_target_``, at whatever depth."""
    found, waiting = set(), [yaml.safe_load(file.read_text()) for file in conf().rglob("*.yaml")]
    while waiting:
        node = waiting.pop()
        waiting += (
            node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        )
        if isinstance(node, dict) and str(node.get("_target_", "")).startswith("swarm."):
            found.add(node["_target_"])
    return frozenset(found)


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The targets that a module imports, from wherever they can be had, or has as words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in (alias.name for alias in node.names):
                for target in targets():
                    module, _, kind = target.rpartition(".")
                    if kind == name and f"{module}.".startswith(f"{node.module}."):
                        yield node.lineno, target
        elif isinstance(node, ast.Constant) and node.value in targets():
            yield node.lineno, str(node.value)


def core() -> dict[str, ast.AST]:
    """The modules of the core; those that hold plug-ins may build on others."""
    holding = {target.rpartition(".")[0] for target in targets()}
    return {
        name: ast.parse(file.read_text())
        for file in FILES
        if (name := dotted(file)).startswith(CORE) and name not in holding
    }


def test_the_core_names_no_plug_in() -> None:
    found = [
        f"{module}:{line} names {target}; let its base class say what is asked"
        for module, tree in core().items()
        for line, target in named(tree)
        if target.rpartition(".")[2] not in EXCEPTIONS
    ]
    assert not found


def test_every_exception_is_still_one() -> None:
    used = {target.rpartition(".")[2] for tree in core().values() for _, target in named(tree)}
    assert set(EXCEPTIONS) == used


def test_most_of_conf_is_looked_at() -> None:
    assert len(targets()) > 150


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("from swarm.learning.optim.optimizer import SGD", True),
        ("def f():\n    from swarm.communication.secure.base import Bonawitz as B", True),
        ("from swarm.data.partition import Iid", True),
        ("WANDB = 'swarm.results.track.wandb.WandbTracker'", True),
        ("from swarm.learning.optim.optimizer import Optimizer", False),
        ("from swarm.communication.secure.base import SecureSum", False),
        ("from networkx import Ring", False),
    ],
)
def test_the_check_sees_a_name(source: str, bad: bool) -> None:
    assert bool(list(named(ast.parse(source)))) is bad
