"""Compare our engine with a plain loop over devices on sequence models, in one run, as ratios.

    python benchmarks/sequences.py                     # GRU and MCSD, 64 wide, context 64, 400 devices, batches of 1, 4 and 16
    python benchmarks/sequences.py --model mcsd --batch 4 --pairs 9 engine.block=16

Every contestant takes one SGD step a device a turn, predicting the next of 64 tokens at every
position. Ours is the engine with everything that it does in a round but sending: it shuffles,
fetches and scores its samples; the loops find theirs sliced beforehand. Each has one thread.
Contestants take turns; the medians of the pairwise ratios are printed with their range, in
processor time (wall time says more about what else a busy machine does). The loops train ``--loop``
of the ``--devices`` only, one after the other, and their time is scaled up.

* module, optim.SGD: the same module, one ``optim.SGD`` a device
* module, autograd: the same module by ``functional_call`` on bare tensors, ``autograd.grad`` and a
  fused update
* nn.GRU, optim.SGD: for the GRU, the same with PyTorch's own fused layer instead of ours
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.experiments.runs.prepared import PreparedRun
from swarm.learning.kernels.kernel import Functional
from swarm.learning.models.gru import GRU
from swarm.learning.models.sequence import SequenceModel
from swarm.simulation.experiment import Experiment
from swarm.simulation.loop import Simulation

CONTEXT, TOKENS, LR = 64, 64, 0.1
Turn = Callable[[], float]  # one step of every device; returns seconds of processor time


def simulation(
    model: str, devices: int, batch: int, overrides: list[str], vmapped: bool
) -> Simulation:
    """The in-process engine, started. If ``vmapped``, it has the kernel that any module gets."""
    settings = [
        f"devices={devices}", "topology=none", "protocol=none", "data=markov", f"data.tokens={TOKENS}",
        f"data.context={CONTEXT}", f"data.per_device={max(4, 2 * batch)}", "partition=natural", f"model={model}",
        f"train.batch={batch}", "train.local_steps=1", f"optimizer.lr={LR}", "scenario.arms=[isolated]", "tracker=none",
        "data.validation=0", *overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        ready = PreparedRun.prepare(Settings.parse(compose("config", overrides=settings)))
    arm = ready.arms[0]
    made = Simulation(ready.experiment(arm, arm.variants[0]), ready.engine)
    if vmapped:
        made.experiment.learner.kernel = Functional(
            made.experiment.model.module(), made.experiment.model.loss
        )
    made.__enter__()
    return made


def ours(made: Simulation) -> Turn:
    done = 0

    def play() -> None:
        nonlocal done
        done += 1
        for _ in made.engine.advance(done):
            pass

    return lambda: timed(play)


class FusedGRU(nn.Module):
    """Our model with ``nn.GRU`` as its layer."""

    def __init__(self, like: SequenceModel) -> None:
        super().__init__()
        width = like.head.in_features
        self.embed, self.norm, self.head = like.embed, like.norm, like.head
        self.layer = nn.GRU(width, width, len(like.layers), batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.norm(self.layer(self.embed(x))[0]))
        return out


def loop_optim(modules: list[nn.Module], x: Tensor, y: Tensor, scale: float) -> Turn:
    optimizers = [torch.optim.SGD(m.parameters(), lr=LR) for m in modules]

    def play() -> None:
        for i, (module, optimizer) in enumerate(zip(modules, optimizers, strict=True)):
            optimizer.zero_grad()
            functional.cross_entropy(module(x[i]).flatten(0, 1), y[i].flatten()).backward()
            optimizer.step()

    return lambda: scale * timed(play)


def loop_functional(modules: list[nn.Module], x: Tensor, y: Tensor, scale: float) -> Turn:
    own = [
        {n: p.detach().clone().requires_grad_() for n, p in m.named_parameters()} for m in modules
    ]

    def play() -> None:
        for i, parameters in enumerate(own):
            out = functional_call(modules[0], parameters, (x[i],))
            values = list(parameters.values())
            gradients = torch.autograd.grad(
                functional.cross_entropy(out.flatten(0, 1), y[i].flatten()), values
            )
            with torch.no_grad():
                torch._foreach_add_(values, gradients, alpha=-LR)

    return lambda: scale * timed(play)


def timed(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def modules_of(e: Experiment, count: int) -> list[SequenceModel]:
    found = [e.model.module(i) for i in range(count)]
    return [m for m in found if isinstance(m, SequenceModel)]


def contestants(
    model: str, devices: int, batch: int, loop: int, overrides: list[str]
) -> Iterator[tuple[str, Turn]]:
    made = simulation(model, devices, batch, overrides, vmapped=False)
    yield "ours", ours(made)
    yield "ours by torch.func", ours(simulation(model, devices, batch, overrides, vmapped=True))
    draw, scale = torch.Generator().manual_seed(0), devices / loop
    x, y = (torch.randint(TOKENS, (loop, batch, CONTEXT), generator=draw) for _ in range(2))
    yield (
        "loop: module, optim.SGD",
        loop_optim(list(modules_of(made.experiment, loop)), x, y, scale),
    )
    yield (
        "loop: module, autograd",
        loop_functional(list(modules_of(made.experiment, loop)), x, y, scale),
    )
    if model == "gru":
        assert all(isinstance(m, GRU) for m in modules_of(made.experiment, 1))
        yield (
            "loop: nn.GRU, optim.SGD",
            loop_optim([FusedGRU(m) for m in modules_of(made.experiment, loop)], x, y, scale),
        )


def compare(
    model: str, devices: int, batch: int, loop: int, pairs: int, overrides: list[str]
) -> None:
    turns = dict(contestants(model, devices, batch, loop, overrides))
    torch.set_flush_denormal(True)  # in the loops as well
    for turn in turns.values():
        turn()
    seconds: dict[str, list[float]] = {n: [] for n in turns}
    for _ in range(pairs):
        for n, turn in turns.items():
            seconds[n].append(turn())
    print(
        f"\n{model}, {devices} devices, batch {batch}, context {CONTEXT}: {pairs} interleaved turns"
    )
    for n, times in seconds.items():
        ratio = [t / mine for t, mine in zip(times, seconds["ours"], strict=True)]
        each = 1e3 * statistics.median(times) / devices
        print(f"  {n:24s} {each:8.2f} ms a device's step   ours is {statistics.median(ratio):5.2f} × as fast "
              f"({min(ratio):.2f} – {max(ratio):.2f})")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=["gru", "mcsd", "transformer", "both"], default="both")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--devices", type=int, default=400)
    parser.add_argument(
        "--loop", type=int, default=40, help="devices that a loop goes through in a turn"
    )
    parser.add_argument("--pairs", type=int, default=7, help="interleaved turns of each contestant")
    parser.add_argument(
        "overrides", nargs="*", help="further settings of ours, such as engine.block=16"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for model in ["gru", "mcsd"] if options.model == "both" else [options.model]:
        for batch in options.batch:
            compare(model, options.devices, batch, options.loop, options.pairs, options.overrides)


if __name__ == "__main__":
    main()
