"""The guarded builder: what it makes, what it refuses, and what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from swarm.common.errors import ConfigError
from swarm.config.build import build, option
from swarm.config.plug_ins import load_plugins

HERE = "plugged_in"
SOURCE = """
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swarm.common.errors import ConfigError


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, side: float, devices: int, label: str = "", kind: Literal["a", "b"] = "a") -> None:
        if side < 0:
            raise ConfigError("side", side, "must be a length ≥ 0")
        if devices == 13:
            raise ConfigError("/devices", devices, "12 would do")
        self.side, self.devices, self.label, self.kind = side, devices, label, kind

    def area(self) -> float:
        return self.side**2


@dataclass
class Pair(Shape):
    first: Shape
    others: Sequence[Shape] = ()
    counts: tuple[int, ...] = ()
    extra: dict[str, Any] | None = None
    size: int | Literal["auto"] = "auto"
    flag: bool = False

    def area(self) -> float:
        return self.first.area() + sum(s.area() for s in self.others)


def unit(devices: int) -> Square:
    return Square(1.0, devices)


def unannotated():
    raise RuntimeError("called")


def liar() -> Shape:
    return 5


class Sloppy(Shape):
    def __init__(self, n: int) -> None:
        raise ValueError("n is odd")

    def area(self) -> float:
        return 0.0


small = lambda: Square(1.0, 1)
run = os.system
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("plugins") / f"{HERE}.py"
    file.write_text(SOURCE)
    load_plugins([str(file)])
    yield str(file)
    del sys.modules[HERE]


def make(plugin: str, target: str, **values: Any) -> Any:
    shape = sys.modules[HERE].Shape
    return build(
        {"_target_": f"{HERE}.{target}", **values}, shape, "shape", [plugin], devices=7, seed=3
    )


def refusal(plugin: str, target: str, **values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(plugin, target, **values)
    return str(caught.value)


def test_values_context_and_defaults_reach_the_constructor(plugin: str) -> None:
    square = make(plugin, "Square", side=2, kind="b")
    assert (square.side, square.devices, square.label, square.kind) == (2.0, 7, "", "b")


def test_nested_sections_are_built_where_the_annotation_is_a_class(plugin: str) -> None:
    inner = {"_target_": f"{HERE}.Square", "side": 3.0}
    pair = make(
        plugin, "Pair", first=inner, others=[inner, {"_target_": f"{HERE}.unit"}], counts=[1, 2]
    )
    assert pair.area() == 19.0
    assert pair.counts == (1, 2)
    assert [s.devices for s in pair.others] == [7, 7]


def test_a_nested_target_in_plain_data_stays_data(plugin: str) -> None:
    extra = {"arm": {"_target_": "os.system", "command": "false"}}
    assert make(plugin, "Pair", first={"_target_": f"{HERE}.unit"}, extra=extra).extra == extra


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"side": "abc"}, "shape.side=abc: must be a finite number"),
        ({"side": True}, "shape.side=true: must be a finite number"),
        ({"side": float("nan")}, "shape.side=nan: must be a finite number"),
        ({"side": float("inf")}, "shape.side=inf: must be a finite number"),
        ({"side": None}, "shape.side=null: must be a finite number"),
        ({"side": -1}, "shape.side=-1: must be a length ≥ 0"),
        ({"side": 1, "label": 3}, "shape.label=3: must be text"),
        ({"side": 1, "kind": "c"}, "shape.kind=c: must be one of a, b"),
        ({}, f"shape.side=???: is missing: {HERE}.Square needs a finite number"),
        (
            {"side": 1, "lable": "x"},
            "shape.lable=x: no such key (did you mean label?); valid keys: kind, label, side",
        ),
        (
            {"side": 1, "devices": 5},
            "shape.devices=5: is set by the run itself and has no place here",
        ),
        (
            {"side": 1, "_args_": [1]},
            "shape._args_=[1]: no such key; valid keys: kind, label, side",
        ),
        (
            {"side": 1, "_partial_": True},
            "shape._partial_=true: no such key; valid keys: kind, label, side",
        ),
        (
            {"side": 1, "_recursive_": False},
            "shape._recursive_=false: no such key; valid keys: kind, label, side",
        ),
        (
            {"side": 1, "_convert_": "all"},
            "shape._convert_=all: no such key; valid keys: kind, label, side",
        ),
        (
            {"side": {"_target_": "os.system"}},
            "shape.side={_target_: os.system}: must be a finite number",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_valid(
    plugin: str, values: dict[str, Any], said: str
) -> None:
    assert refusal(plugin, "Square", **values) == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 3.5}, "shape.size=3.5: must be a whole number or auto"),
        ({"size": True}, "shape.size=true: must be a whole number or auto"),
        ({"size": "big"}, "shape.size=big: must be a whole number or auto"),
        ({"flag": 1}, "shape.flag=1: must be true or false"),
        ({"counts": 3}, "shape.counts=3: must be a list, each item a whole number; [3] is one"),
        ({"counts": [1, 2.5]}, "shape.counts=[1, 2.5]: must be a list, each item a whole number"),
        ({"extra": [1]}, "shape.extra=[1]: must be a section or null"),
        ({"first": 3}, "shape.first=3: must be a Shape"),
        ({"others": [{"_target_": f"{HERE}.Square"}]}, f"shape.others.0.side=???: is missing: {HERE}.Square needs a "
         "finite number"),
        ({"first": {"_target_": f"{HERE}.Square", "side": -2}}, "shape.first.side=-2: must be a length ≥ 0"),
    ],
)  # fmt: skip
def test_types_are_strict(plugin: str, values: dict[str, Any], said: str) -> None:
    assert refusal(plugin, "Pair", **{"first": {"_target_": f"{HERE}.unit"}, **values}) == said


def test_an_absolute_key_gets_no_section(plugin: str) -> None:
    with pytest.raises(ConfigError, match=r"^devices=13: 12 would do$"):
        build({"_target_": f"{HERE}.unit"}, sys.modules[HERE].Shape, "shape", [plugin], devices=13)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "posix.system",
        "torch.hub.load",
        "torch.load",
        "torch.nn.modules.module.torch.hub.load",
        "torch.nn.modules.module.torch.load",
        "torch.nn.init.normal_",
        "torch.nn.functional.relu",
        "torch.nn.Parameter",
        "swarm.config.build.importlib.import_module",
        "swarm.config.build.paths.load_module",
        "swarm.config.build.sys.exit",
        "swarm.config.build.Path.unlink",
        "swarm.config.build.build",
        "swarm.config.build.build.__globals__",
        "swarm.config.build.__builtins__",
        "swarm.common.errors.ConfigError",
        "swarm.common.errors.ConfigError.under",
        "swarm",
        "swarm.config.build",
        "swarm..build",
        "swarm.nowhere.Thing",
        "scenarios",
        f"{HERE}.os.system",
        f"{HERE}.subprocess.Popen",
        f"{HERE}.run",
        f"{HERE}.small",
        f"{HERE}.unannotated",
        f"{HERE}.liar",
        f"{HERE}.Shape",
        f"{HERE}.Nowhere",
        "swarmy.Thing",
        "",
        3,
        None,
    ],
)
def test_nothing_else_can_be_called(
    plugin: str, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("called"))
    for expect in (sys.modules[HERE].Shape, nn.Module):
        with pytest.raises(ConfigError, match=r"^slot\._target_="):
            build(
                {"_target_": target}, expect, "slot", [plugin], command="touch x", cmd="x", args="x"
            )


def test_a_plugin_is_usable_only_when_it_is_listed(plugin: str) -> None:
    with pytest.raises(ConfigError, match="or a module listed under plugins"):
        build({"_target_": f"{HERE}.unit"}, sys.modules[HERE].Shape, "shape", devices=1)


def test_a_class_of_an_unlisted_module_is_refused_even_where_a_plugin_imports_it(
    plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fits the slot and its path is allowed; where it was defined decides."""
    stranger = type("Stranger", (sys.modules[HERE].Square,), {"__module__": "stranger"})
    monkeypatch.setattr(sys.modules[HERE], "Stranger", stranger, raising=False)
    assert "is not a class or function that may be used here" in refusal(plugin, "Stranger", side=1)


def test_a_misspelt_class_is_answered_with_the_ones_there_are(plugin: str) -> None:
    assert "did you mean Square?" in refusal(plugin, "Sqare")


def test_torch_layers_are_modules_and_their_complaints_are_errors_of_the_section() -> None:
    layer = build(
        {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}, nn.Module, "model"
    )
    assert isinstance(layer, nn.Linear)
    with pytest.raises(ConfigError, match=r"^model\.in_features=x: must be a whole number"):
        build(
            {"_target_": "torch.nn.Linear", "in_features": "x", "out_features": 2},
            nn.Module,
            "model",
        )
    with pytest.raises(ConfigError, match=r"^model=torch\.nn\.Linear: refuses these settings"):
        build(
            {"_target_": "torch.nn.Linear", "in_features": -1, "out_features": 2},
            nn.Module,
            "model",
        )


def test_a_plugins_value_error_is_a_refusal_and_our_own_is_a_bug(plugin: str) -> None:
    said = refusal(plugin, "Sloppy", n=3)
    assert said.startswith(f"shape={HERE}.Sloppy: refuses these settings: n is odd (")
    assert re.search(r"plugged_in\.py, line \d+\)$", said)


def test_a_section_without_target_and_one_that_is_no_section() -> None:
    with pytest.raises(ConfigError, match=r"^model=\{width: 3\}: needs a _target_"):
        build({"width": 3}, nn.Module, "model")
    with pytest.raises(ConfigError, match=r"^model=3: must be a section"):
        build(3, nn.Module, "model")


# --- plug-in modules ------------------------------------------------------------------------------


BODIES = {
    "needy.py": "import surely_not_installed",
    "needs_a_name.py": "from json import nowhere",
    "nameless.py": "raise ModuleNotFoundError('by hand')",
    "raises.py": "1 / 0",
    "unbound.py": "nothing",
    "deep.py": "def call():\n    raise ValueError('in a call')\ncall()",
    "leaves.py": "raise SystemExit(0)",
    "packed/__init__.py": "1 / 0",
    "by_a_helper.py": "import failing_helper",
}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("os", "already the name of a module"),
        ("os.path", "already the name of a module"),
        ("swarm.config.build", "already the name of a module"),
        ("nowhere_at_all", "no such module in"),
        ("nowhere.py", "no such file"),
        ("../x-y.py", "must be a module's dotted name or the path of a .py file"),
        ("broken.py", "cannot be imported: SyntaxError: invalid syntax (broken.py, line 1)"),
        ("needy.py", "imports surely_not_installed, which is not installed (needy.py, line 2)"),
        (
            "needs_a_name.py",
            "cannot be imported: ImportError: cannot import name 'nowhere' from 'json' (",
        ),
        ("needs_a_name.py", " (needs_a_name.py, line 2)"),
        ("nameless.py", "cannot be imported: ModuleNotFoundError: by hand (nameless.py, line 2)"),
        (
            "raises.py",
            "cannot be imported: ZeroDivisionError: division by zero (raises.py, line 2)",
        ),
        (
            "unbound.py",
            "cannot be imported: NameError: name 'nothing' is not defined (unbound.py, line 2)",
        ),
        ("deep.py", "cannot be imported: ValueError: in a call (deep.py, line 3)"),
        (
            "leaves.py",
            (
                "it calls sys.exit(0), and a plug-in must not end the process; raise an exception"
                " instead (leaves.py, line 2)"
            ),
        ),
        (
            "packed.inner",
            "cannot be imported: ZeroDivisionError: division by zero (packed/__init__.py, line 2)",
        ),
        ("by_a_helper.py", "cannot be imported: KeyError: 'helper' (by_a_helper.py, line 2)"),
    ],
)
def test_a_plugin_that_cannot_be_used(
    entry: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("broken.py").write_text("def")
    Path("packed").mkdir()
    Path("packed/inner.py").touch()
    Path("failing_helper.py").write_text("raise KeyError('helper')")
    for name, body in BODIES.items():
        Path(name).write_text(f"import json\n{body}\n")
    with pytest.raises(ConfigError) as caught:
        load_plugins([entry])
    assert str(caught.value).startswith(f"plugins={entry}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (
        Path(entry).stem not in {"broken", "needy", "raises"} or Path(entry).stem not in sys.modules
    )


def test_a_dotted_plugin_comes_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as under `python run_swarm.py`; must make no difference
    Path("outside/deep").mkdir(parents=True)
    Path("outside/__init__.py").touch()
    Path("outside/deep/__init__.py").touch()
    Path("outside/deep/layers.py").write_text(
        "from torch import nn\nclass Layer(nn.Linear): pass\n"
    )
    node = {"_target_": "outside.deep.layers.Layer", "in_features": 1, "out_features": 1}
    assert type(build(node, nn.Module, "model", ["outside.deep.layers"])).__name__ == "Layer"
    assert (
        Path(sys.modules["outside.deep.layers"].__file__ or "")
        == tmp_path / "outside/deep/layers.py"
    )
    for name in ("outside.deep.layers", "outside.deep", "outside"):
        monkeypatch.delitem(sys.modules, name)


def test_two_plugin_files_of_one_name_clash(plugin: str, tmp_path: Path) -> None:
    other = tmp_path / f"{HERE}.py"
    other.write_text("")
    with pytest.raises(ConfigError, match="already the name of a module; rename the plug-in"):
        load_plugins([plugin, str(other)])


# --- options and scenarios ------------------------------------------------------------------------


def test_option_reads_a_choice_as_plain_data() -> None:
    assert option("topology", "ring")["_target_"].startswith("swarm.communication.topology.")
    with pytest.raises(
        ConfigError,
        match=r"^topology=rnig: no such option \(did you mean ring\?\); valid options: ",
    ):
        option("topology", "rnig")
    with pytest.raises(ConfigError, match="no such option"):
        option("topology", "../topology/ring")


def test_a_foreign_scenarios_package_cannot_stand_in_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swarm.common.system import paths

    before = {
        name: module for name, module in sys.modules.items() if name.split(".")[0] == "scenarios"
    }
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios/__init__.py").write_text("evil = True")
    (tmp_path / "scenarios/compare.py").write_text("evil = True")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("scenarios.compare")
    assert sys.modules["scenarios"].evil
    try:
        ours = paths.scenarios()
        assert not hasattr(ours, "evil")
        assert paths.scenarios() is ours
        assert not hasattr(__import__("scenarios.compare").compare, "evil")
        assert sys.modules["scenarios.compare"].__file__ == str(
            paths.root() / "scenarios/compare.py"
        )
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "scenarios"]:
            del sys.modules[name]
        sys.modules.update(before)
