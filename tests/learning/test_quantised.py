"""Few bits: what they can say, a base that stands still in them, and parameters that learn in
them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import swarm
from swarm.common.errors import ConfigError
from swarm.common.rows import Layout, ParameterSpec, frozen_parameters, packed_in_a_row
from swarm.learning.batch import Batch
from swarm.learning.model_compression.quantised import packed_bytes, quantised
from swarm.learning.models.dense import MLP
from swarm.learning.optim.grid import Grid
from swarm.results.folder import kept_files
from tests.support import experiment, final_rows, prepared, require_same_bits, run

DIGITS = (
    "data=digits", "partition=iid", "devices=9", "topology=ring", "rounds=3", "train.batch=4",
    "train.local_steps=2", "engine.block=2", "scenario.arms=[swarm]",
)  # fmt: skip
PLAIN = (*DIGITS, "model.hidden=[12]", "optimizer.lr=0.3")
FEW = (*DIGITS, "model.hidden=[12]", "optimizer=quantised_sgd", "optimizer.lr=0.3")


def numbers(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw) + 0.7


# --- what few bits can say ------------------------------------------------------------------------


def test_four_bits_are_those_of_minicpm() -> None:
    w = numbers(4, 48)
    expected = []
    for row in w.double().view(-1, 32):
        scale = (row.max() - row.min()) / 15
        zero = -row.min() / scale - 8
        q = torch.round(row / scale + zero)
        assert (float(q.min()), float(q.max())) == (-8, 7)
        expected.append(scale * (q - zero))
    found = quantised(w, 4, 32)
    torch.testing.assert_close(found, torch.cat(expected).view(4, 48).float(), rtol=0, atol=0)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_a_number_is_off_by_half_a_step_at_most(bits: int, offset: float) -> None:
    w = numbers(7, 31) + offset  # 217 numbers: the last group has fewer
    found = quantised(w, bits, 50)
    for own, said in zip(w.flatten().split(50), found.flatten().split(50), strict=True):
        step = float(own.double().max() - own.double().min()) / (2**bits - 1)
        rounding = 1e-7 * float(own.abs().max())
        assert float((said - own).abs().max()) <= step / 2 + rounding
        assert len(said.unique()) <= 2**bits
        assert abs(float(said.min() - own.min())) <= rounding
        assert abs(float(said.max() - own.max())) <= rounding


def test_what_is_left_as_it_is() -> None:
    w = numbers(5, 5)
    assert quantised(w, 32, 4) is w
    equal = torch.full((6,), 0.1)
    assert torch.equal(quantised(equal, 2, 4), equal)


def test_bytes_are_counted_in_bits() -> None:
    assert packed_bytes(4096, 32, 64) == 4 * 4096
    assert packed_bytes(4096, 4, 64) == 4096 // 2 + 8 * 64
    assert packed_bytes(65, 2, 64) == -(-(130 + 128) // 8)


# --- a frozen base --------------------------------------------------------------------------------


def on_base(folder: Path, *more: str) -> tuple[str, ...]:
    torch.manual_seed(0)
    file = folder / "base.safetensors"
    swarm.save_start(file, MLP((64,), 10, [16]).state_dict())
    base = ("model=lora", "model.base={mlp: {hidden: [16]}}", f"model.base_file={file}")
    return (*DIGITS, *base, "optimizer.lr=0.3", "model.rank=2", *more)


def test_a_base_in_few_bits_is_rounded_shared_and_counted(tmp_path: Path) -> None:
    e = experiment(*on_base(tmp_path, "model.bits=4", "model.group=32"))
    kept = load_file(tmp_path / "base.safetensors")
    modules = [e.model.template, e.model.module(3)]
    for name, value in kept.items():
        expected = quantised(value, 4, 32) if value.dim() > 1 else value
        each = [frozen_parameters(module)[f"base.{name}"] for module in modules]
        assert torch.equal(each[0], expected)
        assert each[0].data_ptr() == each[1].data_ptr()
    sizes = packed_bytes(16 * 64, 4, 32) + packed_bytes(160, 4, 32) + 4 * (16 + 10)
    assert e.model.frozen_bytes == sizes
    assert experiment(*on_base(tmp_path)).model.frozen_bytes == 4 * (1024 + 160 + 26)


def test_a_fleet_counts_the_bits_of_the_base(tmp_path: Path) -> None:
    """A rank of 2 needs 3 times 4 · 188 bytes for parameters, gradient and messages at most."""
    given = on_base(tmp_path, "fleet=uniform", "fleet.memory=4000.0")
    experiment(*given, "model.bits=4")
    with pytest.raises(ConfigError, match=r"fleet=uniform: device 0 has 4e\+03 bytes of memory"):
        experiment(*given)


@pytest.mark.filterwarnings("ignore:cohorts.s. no device has this model")
def test_devices_take_the_base_whose_bits_they_have_memory_for(tmp_path: Path) -> None:
    given = on_base(tmp_path, "fleet=uniform", "protocol=none", "topology=none")
    cohort = "cohorts={s: {devices: memory, model: {bits: 4}}}"
    for memory, devices in (("4000.0", 9), ("40000.0", 0)):
        e = experiment(*given, cohort, f"fleet.memory={memory}")
        few = e.model.cohorts.devices_of_each if e.model.cohorts else {}
        assert few.get("s", 0) == devices


def test_adapters_learn_beside_it_and_the_base_keeps_its_bits(tmp_path: Path) -> None:
    given = on_base(tmp_path, "model.bits=4")
    summary = require_same_bits(tmp_path, *given, rounds=2, cut=1)
    assert summary["frozen_bytes_per_device"] == experiment(*given).model.frozen_bytes
    found = swarm.load(tmp_path / "one")
    state = found.state_dict("swarm", 0)
    kept = load_file(tmp_path / "base.safetensors")
    assert torch.equal(state["base.1.weight"], quantised(kept["1.weight"], 4, 64))
    assert state["base.1.up"].any()
    model, _ = found.model("swarm", 0)
    x = torch.as_tensor(experiment(*given).data.dataset.x[:5])
    torch.testing.assert_close(model.merged()(x), model(x), rtol=1e-4, atol=1e-4)  # type: ignore[operator]


def test_all_bits_are_the_model_without_the_setting(tmp_path: Path) -> None:
    rows = [
        final_rows(prepared(*on_base(tmp_path, *more)))
        for more in ((), ("model.bits=32", "model.group=7"))
    ]
    assert torch.equal(*map(torch.as_tensor, rows))


def test_adapters_on_bases_of_other_bits_are_not_averaged(tmp_path: Path) -> None:
    cohort = "cohorts={s: {devices: 4, model: {bits: 4}}}"
    said = r"cohorts=own and s: .*model.bits is 32 in own and 4 in groups of 64 in s"
    with pytest.raises(ConfigError, match=said):
        experiment(*on_base(tmp_path), cohort)
    e = experiment(*on_base(tmp_path), cohort, "protocol=none", "topology=none")
    assert e.model.each[1].frozen_bytes < e.model.each[0].frozen_bytes


@pytest.mark.parametrize("key", ["model", "optimizer"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("bits=1", "bits=1: must be from 2 to 8, or 32"),
        ("bits=16", "bits=16: must be from 2 to 8, or 32"),
        ("bits=4.5", "bits=4.5: must be a whole number"),
        ("group=0", "group=0: must be from 1 to"),
        ("group=-3", "group=-3: must be from 1 to"),
    ],
)
def test_other_bits_are_refused(tmp_path: Path, key: str, change: str, said: str) -> None:
    given = on_base(tmp_path) if key == "model" else FEW
    with pytest.raises(ConfigError, match=rf"{key}\.{said}"):
        experiment(*given, f"{key}.{change}")


# --- learning on a grid ---------------------------------------------------------------------------


def grid(start: list[float], bits: int = 2, margin: float = 0.0, seed: int | None = None) -> Grid:
    layout = Layout(packed_in_a_row([ParameterSpec("w", (len(start),), 0)]))
    return Grid(layout, torch.tensor(start), bits, 4, margin, seed)


def test_where_the_points_of_a_grid_are() -> None:
    own = grid([0.0, 3.0, 1.2, 2.6, 5.0, 5.0, 0.0])  # groups of 4 and of 3
    row = torch.tensor([[-9.0, 9.0, 1.2, 1.5, 0.7, 3.4, 5.2]])
    found = own.nearest(row)[0]
    torch.testing.assert_close(found, torch.tensor([0.0, 3, 1, 2, 0, 10 / 3, 5]))
    wider = grid([0.0, 3.0, 1.2, 2.6], margin=0.5)
    assert torch.equal(
        wider.nearest(torch.tensor([[-9.0, 9.0, 1.2, 1.4]]))[0], torch.tensor([-1.5, 4.5, 0.5, 0.5])
    )
    equal = grid([2.0, 2.0])  # from 0 to 4
    assert torch.equal(equal.nearest(torch.tensor([[-1.0, 9.0]]))[0], torch.tensor([0.0, 4.0]))


def test_nearest_rounding_stalls_below_half_a_step_and_moves_above_it() -> None:
    own = grid([-0.7, 1.1, 0.3, 0.0], bits=4)
    start = own.nearest(torch.tensor([[-0.7, 1.1, 0.3, 0.0]])).repeat(3, 1)
    down = torch.tensor([[-1.0, 1.0, 1.0, 1.0]]) * own.step_P  # towards the inside
    none = np.zeros(3, np.int64)
    x = start.clone()
    for _ in range(50):  # lr · |g| of 0.49 steps, however often
        x = own.rounded(x - 0.49 * down, none, none, "step")
    assert torch.equal(x, start)
    moved = own.rounded(start - 0.51 * down, none, none, "step")
    torch.testing.assert_close(moved, start - down)


def test_stochastic_rounding_is_unbiased_and_goes_to_a_neighbour() -> None:
    own = grid([-0.7, 1.1, 0.3, 0.0], bits=3, margin=0.2, seed=5)
    count = 40_000
    x = torch.tensor([[-0.6, 1.0, 0.31, 0.029]]).repeat(count, 1)
    device, step = np.arange(count) % 200, np.arange(count) // 200
    found = own.rounded(x, device, step, "step")
    place = (found - own.least_P) / own.step_P
    assert torch.allclose(place, place.round(), atol=1e-4)
    assert ((found - x).abs() < own.step_P).all()
    off = ((found.double() - x).mean(0) / own.step_P).abs()
    assert (off < 4 * 0.5 / count**0.5).all()
    assert all(len(column.unique()) == 2 for column in found.T)
    again = own.rounded(found, device, step + 1, "step")  # on the grid already
    assert torch.equal(again, found)
    other = own.rounded(x, device, step, "phase.1")
    assert not torch.equal(other, found)


@pytest.mark.parametrize("drawn", [0.0, 1 - 2.0**-24])
def test_a_number_on_the_grid_keeps_its_bits_whatever_is_drawn(
    monkeypatch: pytest.MonkeyPatch, drawn: float
) -> None:
    """The place of a point comes out a little beside a whole number for some of them."""
    start = numbers(400).tolist()
    own = grid(start, bits=8, seed=5)
    x = own.nearest(torch.tensor([start]))
    monkeypatch.setattr(
        "swarm.learning.optim.grid.hashed_uniform",
        lambda keys, width: np.full((len(keys), width), drawn, np.float32),
    )
    assert torch.equal(own.rounded(x, np.zeros(1, np.int64), np.ones(1, np.int64), "step"), x)


def test_a_step_ends_on_the_grid_by_draws_of_its_device_and_step() -> None:
    e = experiment(*FEW, "optimizer.bits=4")
    x_BP, draw = e.model.first_rows(np.arange(4)), torch.Generator().manual_seed(0)
    same = torch.rand(1, 1, 4, 64, generator=draw).repeat(4, 1, 1, 1)
    target = e.model.loss.encode(torch.tensor([1, 5, 2, 8]).repeat(4, 1, 1), 10, x_BP.dtype)
    device_B, done_B = np.array([3, 8, 3, 3]), torch.tensor([0, 0, 0, 1])
    batch = Batch(same, target, None, None, done_B, device=device_B)
    with torch.no_grad():
        learnt, _ = e.learner.train(x_BP, {}, batch, 0.3)
    assert on_the_grid(learnt, e)
    assert torch.equal(learnt[0], learnt[2])
    assert not torch.equal(learnt[0], learnt[1])
    assert not torch.equal(learnt[0], learnt[3])


def on_the_grid(rows: Any, e: Any) -> bool:
    x, own = torch.as_tensor(rows).float(), e.model.grid
    return torch.equal(own.nearest(x), x)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize(
    "more",
    [
        ("topology=ring",), ("topology=complete", "optimizer.momentum=0.9"),
        ("protocol=fedavg", "topology=none", "protocol.fraction=0.5"),
        ("churn=markov", "init=independent", "train.clip_norm=1"),
    ],
)  # fmt: skip
def test_devices_are_on_the_grid_after_each_round(rounding: str, more: tuple[str, ...]) -> None:
    words = (*FEW, f"optimizer.rounding={rounding}", "optimizer.bits=4", *more)
    e, start = experiment(*words), experiment(*words, "rounds=0")
    rows = final_rows(prepared(*words))
    assert on_the_grid(rows, e)
    assert on_the_grid(start.model.first_rows(np.arange(9)), e)
    assert not torch.equal(torch.as_tensor(rows), start.model.first_rows(np.arange(9)))
    free = experiment(*PLAIN, *(word for word in more if not word.startswith("optimizer")))
    assert not on_the_grid(free.model.first_rows(np.arange(9)), e)


def test_all_bits_are_plain_sgd(tmp_path: Path) -> None:
    rows = [final_rows(prepared(*words)) for words in (PLAIN, (*FEW, "optimizer.bits=32"))]
    assert torch.equal(*map(torch.as_tensor, rows))


def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path) -> None:
    words = (*FEW, "optimizer.bits=4", "churn=markov", "network.drop=0.2")
    require_same_bits(tmp_path, *words, rounds=3, cut=2)


def test_a_run_goes_on_from_the_start_that_its_grid_follows_from(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    state = MLP((64,), 10, [12]).state_dict()
    swarm.save_start(file, state)
    run(tmp_path / "run", *FEW, f"init={file}", "rounds=1")
    before = file.read_bytes()
    state["1.weight"][0, 0] += 5
    swarm.save_start(file, state)
    with pytest.raises(ConfigError, match=r"init=.*: is another file than the one"):
        swarm.resume(tmp_path / "run", {"rounds": 2})
    with pytest.MonkeyPatch.context() as patch:  # as where no hashes of files were remembered
        patch.setattr(kept_files, "require_same", lambda *_: None)
        with pytest.raises(ConfigError, match=r"init=.*: is another start than the run's"):
            swarm.resume(tmp_path / "run", {"rounds": 2})
    file.write_bytes(before)
    assert swarm.resume(tmp_path / "run", {"rounds": 2}).summary["arms"]["swarm"]["rounds"] == 2


def test_a_swarm_of_small_steps_stalls_with_nearest_rounding_only() -> None:
    small = (*FEW, "optimizer.bits=4", "optimizer.lr=0.001")
    start = experiment(*small).model.first_rows(np.arange(9))
    rows = {
        rounding: torch.as_tensor(
            final_rows(prepared(*small, f"optimizer.rounding={rounding}"))
        ).float()
        for rounding in ("nearest", "stochastic")
    }
    assert torch.equal(rows["nearest"], start)
    assert not torch.equal(rows["stochastic"], start)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("protocol=choco",), "protocol=choco: must be one that remembers nothing"),
        (("personal=ditto",), r"personal=ditto: must be none with optimizer=quantised_sgd"),
        (("privacy=sample_level",), "privacy=sample_level: must be none or device_level"),
        (("cohorts={s: {devices: 3, model: {hidden: [8]}}}",), r"cohorts=\[s\]: must be {} with"),
        (("compute.compile=true",), "compute.compile=true: must be false with"),
        (("protocol=fedmd", "data.public=0.2"), "protocol=fedmd: must be one that exchanges"),
        (("optimizer.margin=-1",), "optimizer.margin=-1"),
        (("optimizer.rounding=down",), "optimizer.rounding=down: "),
    ],
)  # fmt: skip
def test_what_does_not_go_together_with_a_grid(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        experiment(*FEW, *words)
