"""Imports go down the picture of docs/architecture.md only, and what the project renounces does not
creep in.

Every module lives in one of the rooms below. It may import from the rooms below its own and from
its own room, not from its neighbour on the same floor: ``learning`` and ``communication`` do not
know each other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest first. Within a layer, the modules of one string may import one another; the strings may
# not.
LAYERS: list[list[str]] = [
    ["swarm.common"],
    ["swarm.config"],
    ["swarm.data"],
    ["swarm.learning", "swarm.communication"],
    ["swarm.simulation"],
    ["swarm.results"],
    ["swarm.experiments"],
    ["scenarios", "swarm.cli"],
    ["run_swarm"],
]
LEVEL = {
    module: level
    for level, layer in enumerate(LAYERS)
    for group in layer
    for module in group.split()
}
GROUP = {module: group for layer in LAYERS for group in layer for module in group.split()}
FREE = {"swarm", "swarm.__init__"}  # the package's own front: re-exports on first use

FILES = sorted(
    [*(ROOT / "swarm").rglob("*.py"), *(ROOT / "scenarios").rglob("*.py"), ROOT / "run_swarm.py"]
)


def dotted(file: Path) -> str:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def owner(module: str) -> str | None:
    """The entry of the table that ``module`` falls under."""
    parts = module.split(".")
    return next((n for i in range(len(parts), 0, -1) if (n := ".".join(parts[:i])) in LEVEL), None)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every imported module of ours, with its line; imports for type checking only do not count."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            (node.lineno, name)
            for name in names
            if name.split(".")[0] in ("swarm", "scenarios", "run_swarm")
        )


def violations(module: str, tree: ast.AST) -> list[str]:
    me = owner(module)
    assert me is not None, f"{module} is in no layer: add it to LAYERS"
    found = []
    for line, name in imports(tree):
        it = owner(name)
        if it is None or it == me or GROUP[it] == GROUP[me]:
            if it is None and name.split(".")[0] != "swarm":
                found.append(f"{module}:{line} imports {name}, which is in no layer")
            continue
        if LEVEL[it] >= LEVEL[me]:
            found.append(
                f"{module}:{line} imports {name}, which lies"
                f" {'above' if LEVEL[it] > LEVEL[me] else 'beside'} it"
            )
    return found


def test_imports_go_down_only() -> None:
    found = [
        wrong
        for file in FILES
        if dotted(file) not in FREE
        for wrong in violations(dotted(file), ast.parse(file.read_text()))
    ]
    assert not found


def test_the_table_names_only_what_exists() -> None:
    modules = {dotted(file) for file in FILES}
    assert [name for name in LEVEL if name not in modules] == []


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("from swarm.cli.main import main", True),
        ("import swarm.cli.main", True),
        ("def f():\n    from swarm.experiments import runner", True),
        ("import scenarios.compare", True),
        ("from swarm.learning import learner", True),
        ("from swarm.data import dataset", False),
        ("from swarm.communication.topology.graph import Graph", False),
        ("from swarm.common.errors import ConfigError", False),
        (
            (
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from swarm.cli.main"
                " import main"
            ),
            False,
        ),
    ],
)
def test_the_check_sees_a_violation(source: str, bad: bool) -> None:
    assert bool(violations("swarm.communication.topology.ring", ast.parse(source))) is bad


# --- what is not to be used at all ----------------------------------------------------------------

FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "__import__",
    "os.system",
    "instantiate",
    "hydra.utils.instantiate",
}
FORBIDDEN_CALLS |= {
    "torch.load",
    "torch.save",
    "np.load",
    "numpy.load",
    "np.random.seed",
    "numpy.random.seed",
}
FORBIDDEN_CALLS |= {
    f"torch.{name}"
    for name in (
        "seed",
        "manual_seed",
        "default_generator.manual_seed",
        "random.manual_seed",
        "cuda.manual_seed",
    )
}
FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "random", "shelve", "marshal"}
# The legacy global generator behind np.random.<draw>; the classes are fine.
NUMPY_RANDOM = {"Generator", "Philox", "SeedSequence", "BitGenerator", "PCG64", "default_rng"}
ALLOWED = {
    "swarm.data.files.readers.table_files: np.load": "allow_pickle=False",
    **dict.fromkeys(
        (
            "swarm.common.system.generators: random",
            "swarm.common.system.generators: numpy.random.get_state",
        ),
        "looks at global generators, as plug-ins must not draw from them",
    ),
    **dict.fromkeys(
        (
            "swarm.learning.kernels.noise: torch.default_generator.manual_seed",
            "swarm.learning.kernels.noise: torch.cuda.manual_seed",
        ),
        "inside torch.random.fork_rng: a module's start and its noise draw from torch's generator",
    ),
}


def renounced(module: str, tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [
                alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_IMPORTS
            ]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] if node.module.split(".")[0] in FORBIDDEN_IMPORTS else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            legacy = (
                name.startswith(("np.random.", "numpy.random."))
                and name.split(".")[2] not in NUMPY_RANDOM
            )
            found += [name] if name in FORBIDDEN_CALLS or legacy else []
    return [name for name in found if f"{module}: {name}" not in ALLOWED]


def test_nothing_unpickles_evaluates_or_seeds_globally() -> None:
    found = [
        f"{file}: {wrong}"
        for file in FILES
        for wrong in renounced(dotted(file), ast.parse(file.read_text()))
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from pickle import loads", "import random", "eval('1')", "torch.load(f)", "np.random.rand(3)",
     "np.random.seed(1)", "torch.manual_seed(0)", "from random import shuffle"],
)  # fmt: skip
def test_the_check_sees_what_is_renounced(source: str) -> None:
    assert renounced("swarm.x", ast.parse(source))
