"""Plug-in files that import the files beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from swarm.common.errors import ConfigError
from swarm.config import neighbours
from swarm.config.build import build
from swarm.config.plug_ins import load_plugins


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(neighbours, "_IMPORTED", {})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("beside_"):
            del sys.modules[name]


def written(folder: Path, name: str, layer: str = "Linear") -> str:
    """A plug-in that imports a layer from a file beside it, and a size from a package."""
    (folder / "beside_sizes").mkdir(parents=True)
    (folder / "beside_sizes/__init__.py").write_text("from beside_sizes.wide import WIDTH\n")
    (folder / "beside_sizes/wide.py").write_text("WIDTH = 3\n")
    (folder / "beside_layers.py").write_text(f"from torch.nn import {layer} as Layer\n")
    file = folder / f"{name}.py"
    file.write_text(
        "from beside_layers import Layer\nfrom beside_sizes import WIDTH\nfrom torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self) -> None:\n        super().__init__(Layer(WIDTH, 2))\n"
    )
    return str(file)


def test_a_plugin_imports_the_files_beside_it_wherever_it_lies(tmp_path: Path) -> None:
    plugin, before = written(tmp_path / "mine", "beside_one"), list(sys.path)
    net = build({"_target_": "beside_one.Net"}, nn.Module, "model", [plugin])
    assert net[0].weight.shape == (2, 3)  # type: ignore[index]
    assert sys.path == before
    assert not any(isinstance(each, neighbours._Beside) for each in sys.meta_path)
    with pytest.raises(ModuleNotFoundError):  # found for the plug-in only
        __import__("beside_nothing")


def test_an_installed_module_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "beside_two.py"
    file.write_text("import yaml\nassert yaml.safe_load('3') == 3\n")
    (tmp_path / "yaml.py").write_text("raise RuntimeError\n")
    assert load_plugins([str(file)]) == ("beside_two",)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """Python would give the second plug-in the file of the first."""
    load_plugins([written(tmp_path / "a", "beside_three")])
    other = written(tmp_path / "b", "beside_four", "Bilinear")
    said = r"has a beside_layers.py beside it, and another plug-in has imported .*a/beside_layers"
    with pytest.raises(ConfigError, match=said):
        load_plugins([other])


def test_a_file_that_could_not_be_imported_is_in_nobody_s_way(tmp_path: Path) -> None:
    broken = Path(written(tmp_path / "a", "beside_six"))
    (broken.parent / "beside_layers.py").write_text("raise RuntimeError\n")
    with pytest.raises(ConfigError, match="cannot be imported: RuntimeError"):
        load_plugins([str(broken)])
    assert load_plugins([written(tmp_path / "b", "beside_seven")]) == ("beside_seven",)


def test_a_missing_neighbour_is_named(tmp_path: Path) -> None:
    file = tmp_path / "beside_five.py"
    file.write_text("import beside_nowhere\n")
    with pytest.raises(ConfigError, match="imports beside_nowhere, which is not installed"):
        load_plugins([str(file)])
