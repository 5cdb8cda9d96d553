"""Whatever a metric of a user's own returns ends in one sentence that names it, its file and its
line: before the start, or, of metrics that are first measured in a round, in that round."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.common.plugin import PluginError
from swarm.experiments import runner
from tests.support import config, logged

FAULTY = Path(__file__).with_name("faulty_metrics.py")
ONE = "a dict with numbers of its columns, bad, is needed"
EACH = "one value for each of the 3 devices is needed"
TWO = r"2 values for each of the 3 devices is needed"
HOW: dict[str, dict[str, str]] = {
    "Whole": {
        "none": rf"its measured\(\) returns None; {ONE}",
        "list": rf"its measured\(\) returns a list; {ONE}",
        "key": r"its measured\(\) has the key worse; it must be one of its columns, bad",
        "cohort": r"its measured\(\) has the key bad_cohort_own; it must be one of its columns, bad",
        "text": r"its measured\(\) has a str under bad; a number, or None, is needed",
        "array": r"its measured\(\) has float64 numbers of shape \[2\] under bad; a number",
        "bool": r"its measured\(\) has a bool under bad; a number, or None, is needed",
        "raises": "its measured raises ZeroDivisionError: by the swarm",
        "exits": r"its measured calls sys.exit\(0\), and a plug-in must not end the process",
        "writes": "its measured raises ValueError: assignment destination is read-only",
        "sets": "its measured raises FrozenInstanceError: cannot assign to field 'round'",
    },
    "Wanted": {
        "true": r"its why_not_in\(\) returns a bool; the end of a sentence that says why it cannot",
        "empty": r"its why_not_in\(\) returns a str; the end of a sentence",
        "no": "cannot be measured on Sundays$",
        "raises": "its why_not_in raises LookupError: no such arm",
        "false": r"its why_not\(\) returns a bool; the end of a sentence",
        "negative": r"its held_bytes\(\) returns -8; a whole number ≥ 0 is needed",
        "half": r"its held_bytes\(\) returns 0.5; a whole number ≥ 0 is needed",
        "words": r"its held_bytes\(\) returns a str; a whole number ≥ 0 is needed",
    },
    "Columns": {
        "none": r"its columns\(\) returns None; Columns are needed",
        "one": r"its columns\(\) returns a swarm Column; Columns are needed",
        "words": r"its columns\(\) returns a tuple; Columns are needed",
        "space": r"its columns\(\) has a column with the key 'bad number'; a key must be letters",
        "number": r"its columns\(\) has a column with the key 3; a key must be letters",
        "twice": r"its columns\(\) has two columns with the key bad; each number needs a key",
        "taken": "records have a key lost of their own; give the metric another name$",
        "accuracy": "its key accuracy_mean is one of the metric accuracy too; give it another name$",
        "cohort": "records have a key bad_cohort_own of their own; give the metric another name$",
    },
    "Blocks": {
        "no width": r"its width\(\) returns 0; a whole number ≥ 1 is needed",
        "half a width": r"its width\(\) returns 1.5; a whole number ≥ 1 is needed",
        "a width of words": r"its width\(\) returns a str; a whole number ≥ 1 is needed",
        "none": rf"its look\(\) returns None; {TWO}",
        "flat": rf"its look\(\) returns float32 numbers of shape \[3\]; {TWO}",
        "one more": rf"its look\(\) returns float32 numbers of shape \[4, 2\]; {TWO}",
        "numpy": rf"its look\(\) returns float64 numbers of shape \[3, 2\]; {TWO}",
        "complex": rf"its look\(\) returns complex64 numbers of shape \[3, 2\]; {TWO}",
        "no such sample": "its look raises IndexError",
        "no values": rf"its values\(\) returns None; {EACH}",
        "one value": rf"its values\(\) returns float64 numbers of shape \[1\]; {EACH}",
        "words": rf"its values\(\) returns <U4 numbers of shape \[3\]; {EACH}",
        "key": r"its together\(\) has the key worse; it must be one of its columns, bad_mean, bad_min",
        "tuple": r"its together\(\) returns a tuple; a dict with numbers of its columns",
    },
    "Nameless": {"": "its name is null; it must be letters, digits and underscores"},
    "Unlabelled": {"": "its label is null; it must be what reports call it"},
    "Scores": {"": r"its over_devices\(\) has a list under bad_mean; a number, or None, is needed"},
}  # fmt: skip
CASES = [(name, how, said) for name, all_ in HOW.items() for how, said in all_.items()]


def settings(name: str, how: str, *overrides: str) -> dict[str, Any]:
    node = {"_target_": f"faulty_metrics.{name}", **({"how": how} if how else {})}
    words = ("engine.block=3", "scenario.arms=[swarm]", "evaluate.every=1", *overrides)
    return {**config(f"plugins=[{FAULTY}]", *words), "metrics": ["standard", node]}


@pytest.mark.parametrize(("name", "how", "said"), CASES, ids=[f"{n}-{h}" for n, h, _ in CASES])
def test_one_sentence_before_anything_is_written(name: str, how: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        runner.check(settings(name, how))
    text = str(caught.value).removeprefix("/")
    assert text.startswith(f"metrics=faulty_metrics.{name}: "), text
    assert re.search(said, text), text
    assert "\n" not in text
    assert caught.value.exit_code == 2
    if not said.endswith(("$", "underscores", "call it")):
        assert re.search(r"faulty_metrics\.py, line \d+\)$", text), text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Streams", r"its value\(\) returns float64 numbers of shape \[12\]; a number, or None"),
        ("Traffics", r"its value\(\) returns a str; a number, or None, is needed"),
    ],
)
def test_in_a_round_it_is_a_sentence_too(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        swarm.run(settings(name, "", "rounds=1"), tmp_path / "run")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("how", ["no number", "beyond", "nothing"])
def test_no_number_is_null_and_no_fault(tmp_path: Path, how: str) -> None:
    swarm.run(settings("Whole", how, "rounds=0"), tmp_path / "run")
    assert logged(tmp_path / "run")[-1].get("bad") is None
    assert swarm.load(tmp_path / "run").final("swarm").get("bad") is None


def test_devices_without_a_value_are_left_out(tmp_path: Path) -> None:
    swarm.run(settings("Blocks", "no number", "rounds=0"), tmp_path / "run")
    assert "bad_mean" not in logged(tmp_path / "run")[-1]
