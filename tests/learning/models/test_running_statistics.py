"""Modules with running statistics, such as BatchNorm: they learn as PyTorch's own loop does, and a
device sends its statistics or keeps them, as the run says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import swarm
from swarm.common.errors import ConfigError
from swarm.common.rows import Layout
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.initial_parameters import save_start
from swarm.learning.kernels.kernel import Functional, Kernel, PerDevice
from swarm.learning.kernels.losses import loss_for
from swarm.learning.kernels.module import initialised
from swarm.learning.learner import Batch, Learner
from swarm.learning.optim.optimizer import SGD, Adam, Optimizer
from swarm.learning.optim.schedule import Constant
from swarm.learning.running_statistics import entries, layout_of, running_statistics
from swarm.results.folder.saved_rows import saved_rows
from tests.learning.models.published_models import BatchNormMLP
from tests.support import TORCH_LOSS, config, require_same_bits, run, simulation

PLUGIN = f"plugins=[{Path(__file__).with_name('published_models.py')}]"
COMMON = (
    PLUGIN,
    "devices=6",
    "topology=ring",
    "engine.block=2",
    "optimizer.lr=0.1",
    "train.batch=8",
)
STATISTICS = ("bn.running_mean", "bn.running_var", "bn.num_batches_tracked")
SENT, OF_BN = 8 * 64 + 8 + 16 + 80 + 10, 2 * 8
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


def named(name: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"published_models.{name}", **options}


MODEL = named("BatchNormMLP")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("ResNet20", ("optimizer=adam", "optimizer.lr=0.01", "evaluate.devices=1")),
        ("TiedGPT", ()),
        ("LoRA", ("optimizer=momentum",)),
        ("OwnMean", ("train.local_steps=null", "train.local_epochs=1")),
        ("BatchNormMLP", ("share=no_batch_norm", "protocol=scaffold")),
        (
            "BatchNormMLP",
            ("buffers=local", "protocol=best_neighbour", "data.local_validation=0.2"),
        ),
        ("BatchNormMLP", ("buffers=local", "network.drop=0.2", "compressor=top_k")),
        ("BatchNormMLP", ("protocol=choco", "compressor=qsgd", "optimizer=adamw")),
        ("BatchNormMLP", ("share=[head.*]", "protocol=gradient_tracking")),
    ],
    ids=lambda each: each if isinstance(each, str) else ",".join(each),
)
def test_shards_and_resume_do_not_change_a_bit(
    tmp_path: Path, model: str, words: tuple[str, ...]
) -> None:
    words = (*COMMON, "devices=9", *words)
    require_same_bits(tmp_path, *words, rounds=2, cut=1, model=named(model))


# --- a block of devices ---------------------------------------------------------------------------


def optimizers() -> dict[str, tuple[Optimizer, Any]]:
    """Ours, and torch's own for a list of parameters."""
    return {
        "sgd": (SGD(0.1, Constant()), lambda own: torch.optim.SGD(own, 0.1)),
        "decayed": (
            SGD(0.1, Constant(), momentum=0.9, weight_decay=0.05),
            lambda own: torch.optim.SGD(own, 0.1, momentum=0.9, weight_decay=0.05),
        ),
        "adamw": (
            # first.bias has no gradient but rounding, which a small eps would make a step of
            Adam(0.01, Constant(), eps=1e-3, weight_decay=0.1),
            lambda own: torch.optim.AdamW(own, 0.01, eps=1e-3, weight_decay=0.1),
        ),
    }


def block(
    kind: type[Functional] | type[PerDevice], momentum: float | None
) -> tuple[nn.Module, Kernel]:
    module = initialised(lambda: BatchNormMLP((64,), 10, momentum=momentum), 0).double()
    layout = layout_of(
        module, running_statistics(module, torch.randn(4, 64).double()), "local", "all"
    )
    return module, kind(module, loss_for("cross_entropy", 10), layout=layout)


@pytest.mark.parametrize("optimizer", optimizers())
@pytest.mark.parametrize(
    ("kind", "momentum"), [(Functional, 0.1), (PerDevice, 0.1), (PerDevice, None)]
)
def test_a_device_learns_as_torch_does(
    kind: type[Functional] | type[PerDevice], momentum: float | None, optimizer: str
) -> None:
    """Three devices, of which the second takes no second step."""
    module, kernel = block(kind, momentum)
    ours, theirs = optimizers()[optimizer]
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 3, 8, 64, generator=draw, dtype=torch.float64)
    y = torch.randint(10, (3, 3, 8), generator=draw)
    active = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=torch.bool)
    start_BP = kernel.layout.pack(entries(module)).detach().repeat(3, 1)
    loss = loss_for("cross_entropy", 10)
    slots = {name: torch.zeros_like(start_BP) for name in ours.slots}
    learner = Learner(kernel, loss, ours, 10, None, compiled=False)
    done = torch.zeros(3, dtype=torch.int64)
    batch = Batch(x, loss.encode(y, 10, torch.float64), None, active, done)
    with torch.no_grad():
        learnt_BP, _ = learner.train(start_BP, slots, batch, 0.01 if optimizer == "adamw" else 0.1)
    for device in (0, 2) if optimizer != "sgd" else (0, 1, 2):
        expected = plain_loop(module, theirs, x[device], y[device], active[device])
        found = kernel.layout.state_dict(learnt_BP[device])
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name
        assert found["bn.num_batches_tracked"] == int(active[device].sum())


def plain_loop(
    module: nn.Module, optimizer: Any, x: Tensor, y: Tensor, active: Tensor
) -> dict[str, Tensor]:
    one = BatchNormMLP((64,), 10, momentum=module.bn.momentum).double()  # type: ignore[union-attr]
    one.load_state_dict(module.state_dict())
    steps = optimizer(one.parameters())
    for x_b, y_b, takes in zip(x, y, active, strict=True):
        if takes:
            steps.zero_grad()
            TORCH_LOSS["cross_entropy"](one(x_b), y_b).backward()
            steps.step()
    return one.state_dict()


def test_predictions_are_those_of_evaluation_mode() -> None:
    module, kernel = block(Functional, 0.1)
    rows = kernel.layout.pack(entries(module)).detach().repeat(2, 1)
    rows[1] += 0.1
    rows[1, -1] = 3.0
    x = torch.randn(2, 5, 64, dtype=torch.float64)
    found = kernel.outputs(kernel.layout.views(rows), x)
    for device in range(2):
        module.load_state_dict(kernel.layout.state_dict(rows[device]))
        assert torch.allclose(found[device], module.eval()(x[device]).T)


class StartsAtZero(nn.Module):
    """BatchNorm behind a layer that is zero at first, as the last of a residual block often is."""

    def __init__(self) -> None:
        super().__init__()
        self.zero, self.bn, self.head = nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)
        nn.init.zeros_(self.zero.weight)
        nn.init.zeros_(self.zero.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.bn(self.zero(x)))
        return out


def test_a_layer_that_starts_at_zero_hides_no_statistics() -> None:
    module = initialised(StartsAtZero, 0, 0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = running_statistics(module, torch.randn(2, 4))
    assert {each.name for each in found} == set(STATISTICS)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())


def test_samples_that_are_zero_hide_no_statistics() -> None:
    """Pixels that are black in the first samples leave the mean at 0, and the variance not at 1."""
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    found = {each.name: each.least for each in running_statistics(module, torch.zeros(2, 4))}
    assert found == {"0.running_mean": None, "0.running_var": 0.0, "0.num_batches_tracked": None}


def test_a_variance_below_zero_counts_as_zero() -> None:
    """Compression with rounding may average a variance to less than zero."""
    module, kernel = block(Functional, 0.1)
    row = kernel.layout.pack(entries(module)).detach().repeat(2, 1)
    views = kernel.layout.views(row)
    x = torch.randn(2, 5, 64, dtype=torch.float64)
    views["bn.running_var"].fill_(-1e-3)
    below = kernel.outputs(views, x)
    views["bn.running_var"].zero_()
    assert torch.isfinite(below).all()
    assert torch.equal(below, kernel.outputs(views, x))
    # what is saved is loaded into PyTorch's own module, which would answer NaN
    slots, least = [(s.name, s.shape) for s in kernel.layout.slots], {"bn.running_var": 0.0}
    row[0, kernel.layout.views(row)["bn.running_var"].storage_offset()] = -1e-3
    saved = Layout.saved(slots, (), ["bn.num_batches_tracked"], least).state_dict(row[0])
    assert float(saved["bn.running_var"].min()) == 0.0


# --- a swarm --------------------------------------------------------------------------------------


def last(*words: str, arm: int = 0, model: Any = None) -> tuple[Layout, dict[str, Tensor]]:
    """The final rows of an arm, cut into entries ``[N, …]``."""
    values = {**config(*COMMON, *words), "model": model or MODEL}
    with simulation(PreparedRun.prepare(Settings.parse(values)), arm) as running:
        for _ in running.records(running.experiment.settings.rounds):
            pass
        layout = running.experiment.model.layout
        return layout, layout.views(running.checkpoint().arrays["x"])


MIXED = ("rounds=2", "topology=complete", "mixing=uniform", "partition=iid")


@pytest.mark.parametrize(
    ("words", "local"),
    [
        ((), {"bn.num_batches_tracked"}),
        (("buffers=local",), set(STATISTICS)),
        (("share=no_batch_norm",), {*STATISTICS, "bn.weight", "bn.bias"}),
        (("share=[first.*]",), {"bn.weight", "bn.bias", "head.weight", "head.bias", STATISTICS[2]}),
        (("share=[head.*]", "buffers=local"), {"first.weight", "first.bias", *STATISTICS}),
    ],
)
def test_what_is_shared_is_equal_after_full_mixing_and_the_rest_is_each_device_s_own(
    words: tuple[str, ...], local: set[str]
) -> None:
    layout, found = last(*MIXED, *words)
    own = {s.name for s in layout.slots[len(layout.slots) - layout.local :]}
    assert own >= local
    for name, rows in found.items():
        together = bool((rows - rows[:1]).abs().max() < 1e-6)
        # equal in any case: counts of steps, and a bias that BatchNorm takes out again
        if name not in ("bn.num_batches_tracked", "first.bias"):
            assert together == (name not in own), name


def test_statistics_that_are_kept_owe_nothing_to_neighbours() -> None:
    """At a rate of almost nothing all parameters stay, and a device's statistics are those of its
    own samples: the same alone, and other ones if they are averaged."""
    still = (*MIXED, "rounds=3", "optimizer.lr=1.0e-12", "scenario.arms=[swarm,isolated]")
    kept, alone, averaged = (
        last(*still, f"buffers={way}", arm=arm)[1]["bn.running_mean"]
        for way, arm in (("local", 0), ("local", 1), ("average", 0))
    )
    assert torch.allclose(kept, alone, atol=1e-6)
    assert not torch.allclose(kept, averaged, atol=1e-3)
    assert torch.allclose(kept.mean(0), averaged.mean(0), atol=1e-6)


@pytest.mark.parametrize("protocol", ["fedadam", "diloco"])
def test_a_server_s_optimiser_steps_parameters_and_averages_statistics(protocol: str) -> None:
    words = ("topology=none", "rounds=1")
    plain, stepped = (last(*words, f"protocol={name}")[1] for name in ("fedavg", protocol))
    for name in STATISTICS:
        assert torch.equal(plain[name], stepped[name]), name
    assert not torch.allclose(plain["head.weight"], stepped["head.weight"], atol=1e-3)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ((), SENT + OF_BN),
        (("buffers=local",), SENT),
        (("share=no_batch_norm",), SENT - OF_BN),
        (("share=[head.*]", "buffers=local"), 90),
    ],
)
def test_only_what_is_shared_is_sent_and_paid_for(
    tmp_path: Path, words: tuple[str, ...], numbers: int
) -> None:
    summary = run(tmp_path / "run", *COMMON, "rounds=1", "topology=ring", *words, model=MODEL)
    assert summary["arms"]["swarm"]["bytes_total"] == 6 * 2 * 4 * numbers


def test_a_saved_device_goes_on_as_torch_s_own_module(tmp_path: Path) -> None:
    run(tmp_path / "run", *COMMON, "rounds=2", model=MODEL)
    loaded = swarm.load(tmp_path / "run")
    state = loaded.state_dict("swarm", 3)
    saved = saved_rows(tmp_path / "run", "swarm", ["swarm"])
    assert saved.facts["least"] == {"bn.running_var": 0.0}
    module = BatchNormMLP((64,), 10)
    module.load_state_dict(state)  # strict: every name, and no other
    assert module.bn.num_batches_tracked.dtype == torch.int64
    assert int(module.bn.num_batches_tracked) == 4
    x_S, _ = loaded.dataset("test", trust=True)
    with torch.no_grad():
        expected = module.eval()(torch.as_tensor(x_S)).numpy()
    assert np.allclose(loaded.predict("swarm", 3, trust=True), expected, atol=1e-5)
    start = tmp_path / "start.safetensors"
    save_start(start, state)
    _, begun = last("rounds=0", f"init={start}")
    for name in STATISTICS:
        assert torch.allclose(begun[name][2].double(), state[name].double()), name
    save_start(start, {name: v for name, v in state.items() if name not in STATISTICS})
    _, begun = last("rounds=0", f"init={start}")
    assert torch.equal(begun["bn.running_var"], torch.ones(6, 8))


@pytest.mark.parametrize(
    ("words", "model", "said"),
    [
        (("train.batch=1",), MODEL, "train.batch=1: must be at least 2 .* fails on one sample"),
        ((), named("CountsPredictions"), "changes its buffer count while it predicts"),
        (("share=no_batch_norm",), named("LoRA"), "must be all: .*LoRA has no BatchNorm layer"),
        (("share=[heads.*]",), MODEL, "share=heads.*: matches no parameter .* has first.weight"),
        (("share=head.bais",), MODEL, "share=head.bais: matches no parameter"),
        (("share=[]",), MODEL, "share"),
        (("buffers=global",), MODEL, "buffers=global: .*average.*local"),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[str, ...], model: Any, said: str) -> None:
    values = {**config(*COMMON), "model": model}
    for word in words:
        key, _, value = word.partition("=")
        parsed = value[1:-1].split(",") if value.startswith("[") else value
        if key == "train.batch":
            values["train"] = {**values["train"], "batch": 1}
        else:
            values[key] = [v for v in parsed if v] if isinstance(parsed, list) else parsed
    with pytest.raises(ConfigError, match=said):
        PreparedRun.prepare(Settings.parse(values))
