"""How long files and functions may be, how many files a folder may have: small enough to be read at
one go. What is too large is cut by idea, so that each part has a name that says what is in it.
"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted(file for room in ("swarm", "scenarios") for file in (ROOT / room).rglob("*.py"))
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, FILES_OF_A_FOLDER = 350, 50, 9
COLUMNS, LONGER_LINES = 100, 0.01
COMPLEXITY = 12


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines, from ``def`` to its last."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def targets(group: Path) -> Iterator[str]:
    """The classes that the options of a config group name."""
    for option in group.glob("*.yaml"):
        yield str(yaml.safe_load(option.read_text(encoding="utf-8")).get("_target_", ""))


def folder(target: str) -> Path:
    """The folder that the class ``target`` is in: the longest part of its path that is one."""
    place = ROOT
    for part in target.split("."):
        if not (place / part).is_dir():
            break
        place /= part
    return place


def plug_in_folders() -> set[Path]:
    """Folders of one file for each option: those that several options of one group point to."""
    groups = [Counter(map(folder, targets(group))) for group in (ROOT / "conf").iterdir()]
    return {place for group in groups for place, options in group.items() if options > 1} - {ROOT}


def test_no_file_is_too_long() -> None:
    sizes = {str(f.relative_to(ROOT)): len(f.read_text("utf-8").splitlines()) for f in FILES}
    assert {file: size for file, size in sizes.items() if size > LINES_OF_A_FILE} == {}


def test_no_function_is_too_long() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {name} has {size} lines"
        for file in FILES
        for name, size in functions(file.read_text("utf-8"))
        if size > LINES_OF_A_FUNCTION
    ]
    assert found == []


def test_functions_inside_others_count_too_and_decorators_do_not() -> None:
    source = "@cache\ndef one():\n    pass\n\nclass A:\n    async def two(self):\n        def three(): ...\n"
    assert dict(functions(source)) == {"one": 2, "two": 2, "three": 1}


def test_no_folder_of_machinery_has_too_many_files() -> None:
    exempt = plug_in_folders()
    sizes = Counter(file.parent for file in FILES if file.parent not in exempt)
    crowded = {str(f.relative_to(ROOT)): n for f, n in sizes.items() if n > FILES_OF_A_FOLDER}
    assert crowded == {}


def test_plug_in_folders_are_those_that_conf_points_to() -> None:
    found = {str(place.relative_to(ROOT)) for place in plug_in_folders()}
    assert {"scenarios", "swarm/communication/protocol", "swarm/data/partition"} <= found
    assert found.isdisjoint(
        {"swarm", "swarm/simulation/engine/ray", "swarm/config", "swarm/results"}
    )


def test_hardly_any_line_is_too_long() -> None:
    widths = [len(line) for file in FILES for line in file.read_text("utf-8").splitlines()]
    assert sum(width > COLUMNS for width in widths) <= LONGER_LINES * len(widths)


def test_ruff_holds_the_complexity_of_functions() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    assert "C901" in lint["select"]
    assert lint["mccabe"]["max-complexity"] == COMPLEXITY
