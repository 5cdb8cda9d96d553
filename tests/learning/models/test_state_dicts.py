"""A saved device loads into its module strictly, and a module's own file starts a swarm: for any
module that is accepted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

import swarm
from swarm.common.errors import CheckpointError, ConfigError
from tests.support import prepared, run

PLUGIN = Path(__file__).with_name("stateful_models.py")
MODELS = ["Tied", "Buffers", "Listed", "Parametrised"]
COMMON = ("devices=4", "rounds=1", f"plugins=[{PLUGIN}]", "topology=ring", "partition=iid")

pytestmark = pytest.mark.filterwarnings("ignore:.*takes no part in the output")


def go(folder: Path, name: str, *overrides: str) -> Any:
    run(folder, *COMMON, *overrides, model={"_target_": f"stateful_models.{name}"})
    return swarm.load(folder)


def module(name: str, seed: int = 0) -> nn.Module:
    """As the run makes it: its buffers may be drawn too."""
    from swarm.learning.kernels.module import initialised

    return initialised(lambda: getattr(sys.modules["stateful_models"], name)((64,), 10), seed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_a_device_loads_strictly_and_a_file_of_the_module_starts_a_swarm(
    tmp_path: Path, name: str, dtype: str
) -> None:
    saved = go(tmp_path / "run", name, f"compute.dtype={dtype}").state_dict("swarm", 2)
    own = module(name)
    assert saved.keys() == own.state_dict().keys()
    own.load_state_dict(saved)
    row = swarm.load(tmp_path / "run").rows("swarm")[2]
    made = torch.cat([p.detach().reshape(-1) for p in own.parameters()])
    torch.testing.assert_close(made, torch.as_tensor(row).float(), rtol=0, atol=0)
    # the other way: both of safetensors' writers, and our own
    files = {
        "model": save_model,
        "file": _save_all,
        "start": lambda m, f: swarm.save_start(f, m.state_dict()),
    }
    for kind, save in files.items():
        file = tmp_path / f"{kind}.safetensors"
        save(own, file)
        again = go(tmp_path / kind, name, f"init={file}", "rounds=0", f"compute.dtype={dtype}")
        found = again.state_dict("swarm", 3)
        assert all(
            torch.equal(found[key].to(value), value) for key, value in own.state_dict().items()
        )


def _save_all(own: nn.Module, file: Path) -> None:
    save_file({name: value.clone().contiguous() for name, value in own.state_dict().items()}, file)


def refusal(tmp_path: Path, name: str, values: dict[str, torch.Tensor]) -> str:
    save_file(values, tmp_path / "bad.safetensors")
    with pytest.raises(ConfigError) as caught:
        go(tmp_path / "bad", name, f"init={tmp_path / 'bad.safetensors'}")
    assert not (tmp_path / "bad").exists()
    assert caught.value.key == "init"
    return caught.value.valid


def test_files_that_contradict_the_module_are_refused(tmp_path: Path) -> None:
    go(tmp_path / "run", "Tied")
    values = {name: value.clone() for name, value in module("Tied").state_dict().items()}
    said = refusal(tmp_path, "Tied", {**values, "b.weight": values["b.weight"] + 1})
    assert (
        said
        == "holds different numbers in a.weight and b.weight, which are one parameter of the model"
    )
    said = refusal(tmp_path, "Tied", {**values, "extra": torch.zeros(2)})
    assert said == "holds extra, which the model does not have"
    said = refusal(tmp_path, "Tied", {**values, "head.bias": torch.zeros(10, dtype=torch.int64)})
    assert said == "holds head.bias as int64; parameters are floating-point numbers"
    del values["head.bias"]
    assert refusal(tmp_path, "Tied", values) == "lacks head.bias"
    said = refusal(tmp_path, "Tied", {**values, "fc.bias": torch.zeros(10)})
    assert said == "lacks head.bias; it holds fc.bias, which the model does not have"
    with pytest.raises(
        ConfigError, match=r"is a folder; a device of a run is saved in Python by swarm.save_start"
    ):
        prepared("devices=4", f"init={tmp_path}")
    wrapped = {f"module.{name}": value for name, value in values.items()}
    said = refusal(tmp_path, "Tied", wrapped)
    assert said.startswith("has names that begin with module., as those of a wrapped model do")
    values = {name: value.clone() for name, value in module("Buffers").state_dict().items()}
    said = refusal(tmp_path, "Buffers", {**values, "mask": values["mask"] * 2})
    assert said.startswith(
        "holds another buffer mask than the model's, which its constructor makes"
    )
    assert "another buffer" in refusal(
        tmp_path, "Buffers", {**values, "order": values["order"][:-1]}
    )


def test_a_run_is_read_without_its_code_and_an_old_one_as_before(tmp_path: Path) -> None:
    """Nothing is imported to read a run; a checkpoint of an earlier version gives the parameters
    that it names.
    """
    full = go(tmp_path / "run", "Buffers").state_dict("swarm", 0)
    code = sys.modules.pop("stateful_models")
    assert swarm.load(tmp_path / "run").state_dict("swarm", 0).keys() == full.keys()
    assert "stateful_models" not in sys.modules
    sys.modules["stateful_models"] = code
    (manifest,) = (tmp_path / "run/checkpoints/swarm").glob("round_*.json")
    text = json.loads(manifest.read_text())
    del text["facts"]["ties"], text["facts"]["buffers"], text["seal"]
    text["format"] = 3
    manifest.write_text(json.dumps(text))
    assert list(swarm.load(tmp_path / "run").state_dict("swarm", 0)) == ["head.weight", "head.bias"]
    assert swarm.resume(tmp_path / "run", {"rounds": 2}).summary["rounds"] == 2


def test_damaged_buffers_are_named(tmp_path: Path) -> None:
    run_ = go(tmp_path / "run", "Buffers")
    file = tmp_path / "run/checkpoints/swarm/buffers.safetensors"
    assert set(load_file(file)) == {"mask", "order", "low", "mix", "again"}
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"buffers\.safetensors: is damaged"):
        run_.state_dict("swarm", 0)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"buffers\.safetensors: cannot be read"):
        run_.state_dict("swarm", 0)


def test_buffers_too_large_for_a_run_are_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm.learning.buffers.MOST_BYTES", 100)
    run_ = go(tmp_path / "run", "Buffers")
    with pytest.warns(
        UserWarning, match=r"load_state_dict\(…, strict=False\) leaves those of the module"
    ):
        assert list(run_.state_dict("swarm", 0)) == ["head.weight", "head.bias"]
    assert not (tmp_path / "run/checkpoints/swarm/buffers.safetensors").exists()


@pytest.mark.parametrize("name", ["start.pt", "start.pth", "model.bin"])
def test_a_pickled_start_is_refused_with_what_makes_a_file_of_it(name: str) -> None:
    """``torch.save`` pickles, and to read a pickle may run the code in it."""
    said = r"init=.*: must be common, .* made of a state_dict in Python: swarm\.save_start\('start"
    with pytest.raises(ConfigError, match=said):
        prepared(f"init={name}")


def test_a_checkpoint_around_a_state_dict_is_refused_with_what_to_give(tmp_path: Path) -> None:
    whole = {"state_dict": nn.Linear(2, 2).state_dict(), "epoch": 3}
    with pytest.raises(ConfigError, match=r"state_dict\['state_dict'\]=.*Dict.*must be a tensor"):
        swarm.save_start(tmp_path / "start.safetensors", whole)  # type: ignore[arg-type]
    assert not [*tmp_path.iterdir()]
