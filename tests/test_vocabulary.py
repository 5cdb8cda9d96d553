"""The words of earlier versions do not come back as names of classes, functions, fields or attributes.

``swarm/config/aliases/old_names.yaml`` says what each is called now.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from swarm.config.aliases import module_of, target

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "swarm").rglob("*.py"), *(ROOT / "scenarios").rglob("*.py")])
OURS = ("swarm", "scenarios", "tests", "benchmarks", "examples")

OLD = """
pupils Pupils Progress met lately Lesson Policy Passes Forget Offer Learnt Scores watch residual
Examiner examiner Measure PartlyTold told given People Meetings Everywhere lived worlds Timeline
Stacked OverRows Parts Slot Record RoundRecord COUNTED awake seen carried scratch Now wire
Unchanged Exchange Exchanges Fates Fate fates fate quiet lasting way ways Pull Force pull force
learned Outer Alone inbox needs static steady echo remembers lossless alike Lines Crash Joining
Terminals AllUp AlwaysThere EveryRound Instant Unlimited Steady Holdings holdings deal Rare
apportion fetched Crew crew Member Cast cast Turns turns Host Looked Point mend greet spans calm
become Study settled many Noted set_aside foretell later judge Gathered mirror truth account
rewire frames salvage picture thin lesson lessons lessons_of chunks tune exchanges
"""

# What is called so all the same, and why.
POSITIONS = "a sequence model's state counts the positions it has seen"
SAVED = "a saved file or a checkpoint has it under this name"
KEPT = {
    ("swarm/common/arrays.py", "chunks"): "the only function called so",
    (
        "swarm/communication/routing.py",
        "inbox",
    ): "what a shard gets from other shards, beside outbox",
    ("swarm/data/files/activity.py", "later"): "a config key of a data source",
    ("swarm/data/files/table.py", "later"): "a config key of a data source",
    ("swarm/data/partition/rare.py", "Rare"): "messages take the option name from the class",
    ("swarm/experiments/claims/page/page.py", "picture"): "it names the picture of a page",
    ("swarm/learning/models/gru.py", "seen"): POSITIONS,
    ("swarm/learning/models/mcsd.py", "seen"): POSITIONS,
    ("swarm/learning/models/sequence.py", "seen"): POSITIONS,
    ("swarm/learning/models/transformer.py", "seen"): POSITIONS,
    ("swarm/results/schemas.py", "Progress"): "what progress.json holds",
    ("swarm/results/schemas.py", "Record"): "what a line of metrics.jsonl holds",
    ("swarm/results/track/base.py", "mirror"): "it hands a call to the mirrors",
    ("swarm/simulation/loop.py", "awake"): SAVED,
    ("swarm/simulation/measure.py", "lived"): "the share of each concept that a device lived in",
}


def defined(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a module defines for others to use, with its line: not local variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.lineno, node.name
        if isinstance(node, ast.ClassDef | ast.Module):
            for each in node.body:
                targets = each.targets if isinstance(each, ast.Assign) else []
                targets += [each.target] if isinstance(each, ast.AnnAssign) else []
                yield from ((t.lineno, t.id) for t in targets if isinstance(t, ast.Name))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def plain(name: str) -> str:
    """The word without what marks it as private and without its axes: ``_met_n`` is ``met``."""
    return re.sub(r"_[a-zA-Z]?[A-Z0-9]*$|_n$", "", name.lstrip("_")) or name


def test_no_old_word_names_anything() -> None:
    found = [
        f"{where}:{line}: {name}"
        for where, file in ((str(file.relative_to(ROOT)), file) for file in FILES)
        for line, name in defined(ast.parse(file.read_text(encoding="utf-8")))
        if plain(name) in OLD.split() and (where, plain(name)) not in KEPT
    ]
    assert not found


def test_what_is_kept_is_still_there() -> None:
    for where, word in KEPT:
        tree = ast.parse((ROOT / where).read_text(encoding="utf-8"))
        assert word in {plain(name) for _, name in defined(tree)}, (where, word)


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The dotted path of every module, and of every name in one, that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{each.name}") for each in node.names)


def is_old(path: str) -> bool:
    """Whether only the table of old names knows the module or the name at ``path``."""
    return path.startswith("swarm.") and (module_of(path) is not None or target(path) != path)


def test_nothing_of_ours_is_imported_under_an_old_name() -> None:
    """It works, with a ``DeprecationWarning`` that pytest shows at the end and nobody reads."""
    assert is_old("swarm.cli.report")
    files = [file for name in OURS for file in sorted((ROOT / name).rglob("*.py"))]
    found = [
        f"{file.relative_to(ROOT)}:{line}: {path}"
        for file in files
        for line, path in imported(ast.parse(file.read_text(encoding="utf-8")))
        if is_old(path)
    ]
    assert not found
