"""No arm's name stands in ``swarm/``: which arms there are, and what they are, is for scenarios to
say. The table of earlier names alone knows those of folders made before scenarios said so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from swarm.config import aliases

ROOT = Path(__file__).parents[1]
PACKAGE = "swarm"  # the name of an arm, and of the package
# Sentences may speak of a swarm, and a few modules name the package, or a W&B project after it.
NAMES_THE_PACKAGE = {
    "swarm/config/plug_ins.py",
    "swarm/config/composing/compose.py",
    "swarm/config/aliases/__init__.py",
    "swarm/common/plugin/faults.py",
    "swarm/common/plugin/global_draws.py",
    "swarm/common/plugin/registry.py",
    "swarm/experiments/checks/check_plugin.py",
    "swarm/results/track/wandb.py",
}
# A protocol has the name of the arm that runs it, and draws its clients by that name.
NAMES_A_PROTOCOL = {"swarm/communication/protocol/fedavg.py": "fedavg"}
NAMES_AN_OPTION = {"swarm/communication/protocol/diloco.py": "gossip"}


def arms() -> set[str]:
    """The arms of all scenarios: those that they make, and those that their options list."""
    found: set[str] = set()
    for file in (ROOT / "scenarios").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Arm":
                found |= {ast.literal_eval(node.args[0])}
    for file in (ROOT / "conf" / "scenario").glob("*.yaml"):
        found |= {*(yaml.safe_load(file.read_text(encoding="utf-8")).get("arms") or ())}
    return found


ARMS = arms()
WORDS = re.compile(rf"\b({'|'.join(ARMS - {PACKAGE})})\b")


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every text of a module that is no docstring, with its line."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def named(file: str, source: str) -> list[str]:
    """The texts in which a module names an arm."""
    allowed = {NAMES_A_PROTOCOL.get(file), NAMES_AN_OPTION.get(file)}
    if file in NAMES_THE_PACKAGE:
        allowed.add(PACKAGE)
    found = []
    for line, text in texts(ast.parse(source)):
        names = {text} & {PACKAGE} | {*WORDS.findall(text)}
        found += [f"{file}:{line}: {text!r}" for _ in names - allowed]
    return found


def test_the_arms_are_found() -> None:
    assert {"swarm", "isolated", "centralised", "fedavg", "gossip"} <= ARMS


def test_no_module_names_an_arm() -> None:
    found = [
        wrong
        for file in sorted((ROOT / "swarm").rglob("*.py"))
        for wrong in named(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
    ]
    assert not found


def test_no_page_and_no_script_names_an_arm() -> None:
    quoted = re.compile(rf"""["'`]({"|".join(ARMS)})["'`]|\b({"|".join(ARMS - {PACKAGE})})\b""")
    for ending in ("js", "html", "css", "yaml"):
        for file in (ROOT / "swarm").rglob(f"*.{ending}"):
            if file != aliases.TABLE:
                assert not quoted.search(file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize(
    "source",
    [
        'x = "swarm"',
        'f("of the isolated devices")',
        'ARMS = {"fedavg": 1}',
        'f"the {x} centralised"',
    ],
)
def test_a_name_is_found(source: str) -> None:
    assert len(named("swarm/results/report/style.py", source)) == 1


def test_a_docstring_may_speak_of_one() -> None:
    assert (
        named("swarm/x.py", '"""Of isolated devices."""\n\n\ndef f():\n    """Of a swarm."""') == []
    )
