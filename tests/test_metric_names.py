"""No key of a metric stands in ``swarm/`` outside ``simulation/metrics/``: what is measured, what it
is called and where it is shown is for the metrics to say. The tables of earlier names alone know
others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from swarm.simulation.metrics.usual import usual

ROOT = Path(__file__).parents[1]
FILES = [
    str(file.relative_to(ROOT))
    for file in sorted((ROOT / "swarm").rglob("*.py"))
    if not file.is_relative_to(ROOT / "swarm/simulation/metrics")
    and not file.is_relative_to(ROOT / "swarm/config/aliases")
]
KEYS = {column.key for metric in usual(None) for column in metric.columns()} | {
    metric.name for metric in usual(None)
}

# What is named all the same, and why.
ALWAYS = "rates are chosen, and a divergence is noticed, by these whatever a run measures"
SETTING = "evaluate.accuracy and train.loss are settings"
DEFINED = "recovery is defined on the accuracy of each round"
EXCEPTIONS = {
    ("swarm/simulation/measure.py", "accuracy"): ALWAYS,
    ("swarm/simulation/measure.py", "r2"): ALWAYS,
    ("swarm/simulation/measure.py", "loss"): ALWAYS,
    ("swarm/simulation/loop.py", "loss"): ALWAYS,
    ("swarm/experiments/runs/lr_search/tries.py", "loss"): ALWAYS,
    ("swarm/experiments/runs/lr_search/tries.py", "accuracy"): SETTING,
    ("swarm/experiments/resolved.py", "loss"): SETTING,
    ("swarm/config/plug_in_lists.py", "loss"): SETTING,
    ("swarm/experiments/checks/check_plugin.py", "loss"): SETTING,
    ("swarm/results/continual.py", "stream_accuracy"): DEFINED,
}


def named(file: str) -> Iterator[tuple[int, str]]:
    """Every key of a metric that a module names in a string, with its line."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and node.value in KEYS:
            yield node.lineno, str(node.value)


def test_no_metric_is_named() -> None:
    found = [
        f"{file}:{line}: {key}"
        for file in FILES
        for line, key in named(file)
        if (file, key) not in EXCEPTIONS
    ]
    assert not found


def test_what_is_excepted_is_still_there() -> None:
    for file, key in EXCEPTIONS:
        assert key in {found for _, found in named(file)}, (file, key)


def test_a_key_is_noticed_when_there_is_one() -> None:
    assert {"accuracy_mean", "consensus_distance", "prequential_accuracy", "r2_p10"} <= KEYS
