"""Adapters on a frozen base: zero at first, a matrix of low rank afterwards, and all that is sent."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import swarm
from swarm.common.errors import ConfigError
from swarm.common.rows import Layout, frozen_parameters, trainable
from swarm.data.tokens.byte_pairs import trained
from swarm.experiments.loading import LoadedRun
from swarm.learning.kernels.batched import BatchedKernel
from swarm.learning.models import lora
from swarm.learning.models.dense import MLP
from swarm.learning.models.gru import GRU
from swarm.learning.models.lora import AdaptedLinear, LoRA
from swarm.learning.models.mcsd import MCSD
from swarm.learning.models.transformer import Transformer
from swarm.simulation.footprint import footprint
from tests.support import config, experiment, logged, prepared, require_same_bits, run, trajectory

BASES: dict[str, Callable[[], nn.Module]] = {
    "transformer": lambda: Transformer((8,), 20, width=8, heads=2, depth=1, hidden=12),
    "gru": lambda: GRU((8,), 20, width=8, depth=1),
    "mcsd": lambda: MCSD((8,), 20, width=8, channels=2, depth=1, hidden=12),
}
TEXT = (
    "data=markov", "data.context=8", "partition=natural", "devices=9", "topology=ring",
    "model=lora", "model.rank=2", "rounds=2", "train.batch=4", "optimizer.lr=0.5",
    "engine.block=2", "scenario.arms=[swarm]",
)  # fmt: skip
NAMES = {"transformer": "{transformer: {width: 8, heads: 2, depth: 1, hidden: 12}}",
         "gru": "{gru: {width: 8}}", "mcsd": "{mcsd: {width: 8, channels: 2, depth: 1, hidden: 12}}"}  # fmt: skip


def saved(folder: Path, name: str = "transformer") -> str:
    torch.manual_seed(1)
    file = folder / f"{name}.safetensors"
    swarm.save_start(file, BASES[name]().state_dict())
    return str(file)


def words(folder: Path, name: str = "transformer") -> tuple[str, ...]:
    return (*TEXT, f"model.base={NAMES[name]}", f"model.base_file={saved(folder, name)}")


@pytest.mark.parametrize("name", BASES)
def test_it_begins_as_the_base_and_is_the_merged_model(tmp_path: Path, name: str) -> None:
    file, tokens = saved(tmp_path, name), torch.randint(0, 20, (3, 8))
    plain = BASES[name]()
    plain.load_state_dict(load_file(file))
    model = LoRA(BASES[name](), file, rank=3, alpha=5.0)
    assert torch.equal(model(tokens), plain(tokens))
    linear = sum(type(each) is nn.Linear for each in plain.modules())
    assert len(trainable(model)) == 2 * linear
    for each in trainable(model).values():
        nn.init.normal_(each, std=0.5)
    merged = model.merged()
    assert not torch.allclose(model(tokens), plain(tokens), atol=0.01)
    torch.testing.assert_close(merged(tokens), model(tokens), rtol=1e-4, atol=1e-4)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert not any(isinstance(each, AdaptedLinear) for each in merged.modules())


def test_a_layer_adds_a_product_of_low_rank() -> None:
    layer = AdaptedLinear(nn.Linear(7, 5).double(), 2, 6.0)
    nn.init.normal_(layer.up)
    x = torch.randn(4, 7, dtype=torch.float64)
    weight = layer.weight + 6.0 / 2 * layer.up @ layer.down
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.merged()(x), layer(x), rtol=0, atol=1e-12)
    assert torch.linalg.matrix_rank(layer.merged().weight - layer.weight) == 2


@pytest.mark.parametrize("name", BASES)
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, name: str) -> None:
    require_same_bits(tmp_path, *words(tmp_path, name), rounds=2, cut=1)


def test_only_adapters_are_sent_and_the_base_keeps_its_bits(tmp_path: Path) -> None:
    given = words(tmp_path)
    run(tmp_path / "run", *given)
    before = load_file(tmp_path / "transformer.safetensors")
    model = LoRA(BASES["transformer"](), str(tmp_path / "transformer.safetensors"), rank=2)
    numbers = sum(each.numel() for each in trainable(model).values())
    last = logged(tmp_path / "run")[-1]
    assert last["bytes_total"] == 4 * numbers * last["messages_total"] > 0
    found = swarm.load(tmp_path / "run")
    states = [found.state_dict("swarm", device) for device in (0, 8)]
    for name, value in before.items():
        assert all(torch.equal(state[f"base.{name}"], value) for state in states)
    up = [state["base.layers.0.project.up"] for state in states]
    assert up[0].any()
    assert not torch.equal(*up)
    kept = {name.removeprefix("base.") for name in states[0]} - before.keys()
    assert kept == {name.removeprefix("base.") for name in trainable(model)}
    assert isinstance(found, LoadedRun)
    assert found.predict("swarm", 0).shape[1:] == (8, 20)


def test_modules_of_a_process_share_the_base(tmp_path: Path) -> None:
    e = experiment(*words(tmp_path), "init=independent")
    modules = [e.model.template, *(e.model.module(device) for device in (0, 1))]
    for name, each in frozen_parameters(modules[0]).items():
        assert {frozen_parameters(other)[name].data_ptr() for other in modules} == {each.data_ptr()}
    first, second = (
        Layout.of(module).pack(dict(module.named_parameters())) for module in modules[1:]
    )
    assert not torch.equal(first, second)
    parts = {part.name: part for part in footprint(e).parts}
    size = sum(4 * each.numel() for each in frozen_parameters(modules[0]).values())
    assert parts["frozen parameters"].bytes == size
    assert parts["frozen parameters"].each


def test_a_run_goes_on_with_its_own_file_only(tmp_path: Path) -> None:
    given = words(tmp_path)
    result = run(tmp_path / "run", *given)
    file = tmp_path / "transformer.safetensors"
    loaded = swarm.load(tmp_path / "run")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert loaded.config["model"]["base_sha256"] == digest
    shutil.copy(file, tmp_path / "kept")
    values = load_file(file)
    values["embed.weight"][0, 0] += 1
    save_file(values, file)
    with pytest.raises(
        ConfigError, match=r"model.base_file=.*: is another file than is asked for: its SHA-256"
    ):
        swarm.resume(tmp_path / "run", {"rounds": 3})
    with pytest.raises(ConfigError, match="is another file"):
        loaded.predict("swarm", 0)
    shutil.copy(tmp_path / "kept", file)
    resumed = swarm.resume(tmp_path / "run", {"rounds": 3}).summary
    assert resumed["arms"]["swarm"]["rounds"] == 3 > result["arms"]["swarm"]["rounds"]


OWN_BASE = "cohorts={s: {devices: 4, model: {lora: {rank: 2, base: %s, base_file: %s}}}}"


def test_a_cohort_goes_on_with_its_own_file_only(tmp_path: Path) -> None:
    """Also beside a model of another kind."""
    file = Path(saved(tmp_path))
    own = ("model=gru", "model.width=8", "protocol=none", "topology=none")
    plain = (word for word in TEXT if not word.startswith(("model", "topology")))
    run(tmp_path / "run", *plain, *own, OWN_BASE % (NAMES["transformer"], file))
    loaded = swarm.load(tmp_path / "run")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert loaded.config["cohorts"]["s"]["model"]["base_sha256"] == digest
    values = load_file(file)
    values["embed.weight"][0, 0] += 1
    save_file(values, file)
    said = r"cohorts\.s\.model\.base_file=.*: is another file than is asked for"
    with pytest.raises(ConfigError, match=said):
        swarm.resume(tmp_path / "run", {"rounds": 3})


def test_a_cohort_names_its_base_as_the_run_does(tmp_path: Path) -> None:
    file, given = saved(tmp_path, "gru"), words(tmp_path)
    cohort = "cohorts={s: {devices: 4, model: {base: %s, base_file: %s}}}"
    e = experiment(*given, "protocol=none", "topology=none", cohort % (NAMES["gru"], file))
    assert isinstance(e.model.each[1].template.base, GRU)
    with pytest.raises(ConfigError, match=r"cohorts\.s\.model\.base=grv: .*did you mean gru"):
        experiment(*given, cohort % ("grv", file))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("{rank: 1}", r"cohorts=own and s: .*model.alpha / model.rank is 4 in own and 8 in s"),
        ("{rank: 1, alpha: 4}", None),
        ("{base_file: OTHER}", r"the SHA-256 of model.base_file is .{16}… in own and .{16}… in s"),
    ],
)
def test_adapters_that_mean_something_else_are_not_averaged(
    tmp_path: Path, change: str, said: str | None
) -> None:
    given = words(tmp_path)
    other = BASES["transformer"]().state_dict()
    swarm.save_start(tmp_path / "other.safetensors", other)
    model = change.replace("OTHER", str(tmp_path / "other.safetensors"))
    cohort = f"cohorts={{s: {{devices: 4, model: {model}}}}}"
    experiment(*given, "protocol=none", "topology=none", cohort)
    if said is None:
        experiment(*given, cohort)
        return
    with pytest.raises(ConfigError, match=said):
        experiment(*given, cohort)


def test_a_base_is_refused_with_other_tokens_than_its_file_says(tmp_path: Path) -> None:
    texts = {name: " ".join([f"{name} and {name[::-1]}"] * 40) for name in ("dawn", "lamp")}
    kept, sizes = {}, set()
    for name, text in texts.items():
        rows = "".join(json.dumps({"owner": o, "text": text}) + "\n" for o in ("ann", "bob"))
        (tmp_path / f"{name}.jsonl").write_text(rows)
        tokens = trained([text], 260)
        kept[name] = tmp_path / f"{name}.json"
        kept[name].write_text(tokens.rules)
        sizes.add(tokens.classes)
    assert sizes == {260}
    base = Transformer((8,), 260, width=8, heads=2, depth=1, hidden=12)
    file = tmp_path / "base.safetensors"
    swarm.save_start(file, base.state_dict(), kept["dawn"])
    given = [
        "data=text", f"data.path={tmp_path / 'lamp.jsonl'}", "data.tokens=bpe", "devices=2",
        "data.min_chars=100", *(word for word in TEXT if not word.startswith(("data=", "devices"))),
        f"model.base={NAMES['transformer']}", f"model.base_file={file}",
    ]  # fmt: skip
    experiment(*given, f"data.tokenizer={kept['dawn']}")
    said = r"model\.base_file=.*base.safetensors: was trained with the tokens of the tokenizer.json"
    with pytest.raises(ConfigError, match=said):
        experiment(*given, f"data.tokenizer={kept['lamp']}")
    swarm.save_start(file, base.state_dict())
    experiment(*given, f"data.tokenizer={kept['lamp']}")
    with pytest.raises(ConfigError, match=r"tokenizer=.*: must be an existing regular file"):
        swarm.save_start(file, base.state_dict(), tmp_path / "gone.json")


@pytest.mark.parametrize("name", BASES)
def test_a_block_of_devices_learns_as_plain_torch_does(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the merged weights of all devices at once, and a large base device by device."""
    given = (
        *words(tmp_path, name),
        "protocol=none",
        "topology=none",
        "compute.dtype=float64",
        "rounds=1",
    )
    e = experiment(*given)
    assert isinstance(e.learner.kernel, BatchedKernel)
    rows = trajectory(prepared(*given))
    monkeypatch.setattr(lora, "MOST_MERGED", 0)
    assert not isinstance(experiment(*given).learner.kernel, BatchedKernel)
    torch.testing.assert_close(trajectory(prepared(*given))[-1], rows[-1], rtol=1e-9, atol=1e-12)
    assert not torch.equal(torch.as_tensor(rows[0]), torch.as_tensor(rows[-1]))


def test_other_kinds_of_models_have_adapters_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    swarm.save_start(tmp_path / "m.safetensors", MLP((64,), 10, [16]).state_dict())
    base = (
        "model=lora",
        "model.base={mlp: {hidden: [16]}}",
        f"model.base_file={tmp_path / 'm.safetensors'}",
    )
    e = experiment(*base, "data=digits", 'model.layers="1"')
    assert [s.name for s in e.model.layout.slots] == ["base.1.down", "base.1.up"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.base=null", "model.base=null: must be the frozen model"),
        ("model.base=lora", "model.base=lora: "),
        ("model.base=3", "model.base=3: must be a name"),
        ("model.base_file=null", "model.base_file=null: must be a .safetensors file"),
        ("model.base_file=there.pt", r"model.base_file=there.pt: must be a .safetensors file"),
        ("model.base_file=gone.safetensors", "gone.safetensors: must be an existing regular file"),
        ("model.base={transformer: {width: 16, heads: 2, depth: 1, hidden: 12}}", r"holds embed.weight of shape \[20, 8\], and the base's is \[20, 16\]"),
        ("model.base={gru: {width: 8}}", "lacks layers.0.hidden.bias"),
        ("model.rank=0", "model.rank=0: must be from 1 to 8"),
        ("model.rank=9", "model.rank=9: must be from 1 to 8"),
        ("model.alpha=0", "model.alpha=0: must be above 0"),
        ("model.layers=nothing", "model.layers=nothing: matches no linear layer; the base has"),
        ("model.base_sha256=abc", "is another file than is asked for"),
    ],
)  # fmt: skip
def test_what_cannot_be_adapted(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        experiment(*words(tmp_path), change)


@pytest.mark.parametrize("damage", ["nan", "text", "int"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    given = words(tmp_path)
    file = tmp_path / "transformer.safetensors"
    values = load_file(file)
    if damage == "text":
        file.write_text("no safetensors")
    else:
        wrong = torch.nan if damage == "nan" else 1
        values["head.bias"] = torch.full((20,), wrong)
        save_file(values, file)
    said = {"nan": "not finite", "text": "is no readable safetensors", "int": "another kind"}[
        damage
    ]
    with pytest.raises(ConfigError, match=said):
        experiment(*given)


def test_a_start_with_another_base_is_refused(tmp_path: Path) -> None:
    given = words(tmp_path)
    model = LoRA(BASES["transformer"](), saved(tmp_path), rank=2)
    state: dict[str, Any] = {name: value.clone() for name, value in model.state_dict().items()}
    state["base.layers.0.project.up"] += 0.25
    swarm.save_start(tmp_path / "start.safetensors", state)
    e = experiment(*given, f"init={tmp_path / 'start.safetensors'}")
    assert (e.model.layout.state_dict(e.model.start)["base.layers.0.project.up"] == 0.25).all()
    state["base.head.bias"] += 1
    swarm.save_start(tmp_path / "start.safetensors", state)
    with pytest.raises(ConfigError, match=r"holds another base.head.bias than the file"):
        experiment(*given, f"init={tmp_path / 'start.safetensors'}")
    assert config(*given)["model"]["rank"] == 2
