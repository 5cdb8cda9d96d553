"""What the samples of a device's first step looked like, from its first message: the pictures that
are in docs/privacy.md, and how like the samples they are.

    python benchmarks/inversion.py                       # a minute; draws docs/img/inversion.png
    python benchmarks/inversion.py --samples 1 --png one.png
    python benchmarks/inversion.py --data fashion_mnist  # after: python -m swarm.data.fetch …

Each device takes one step on all of its few samples and sends the result. With one sample, the
input of the first layer follows exactly; with several it is searched for.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

import swarm
from swarm.config.settings import Settings
from swarm.experiments.audit.inversion import Inversion, exact_input, gradient_of, psnr
from swarm.experiments.audit.swarms import first_messages, restricted
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment

DEVICES, LR = 4, 0.1
CLIPPED = ("privacy=sample_level", "privacy.rate=1", "privacy.clip_norm=1")
PROTECTIONS = {
    "no protection": (),
    "clipped to norm 1": (*CLIPPED, "privacy.noise_multiplier=0"),
    "and noise σ = 0.05": (*CLIPPED, "privacy.noise_multiplier=0.05"),
    "and noise σ = 1": (*CLIPPED, "privacy.noise_multiplier=1"),
}


def experiment(data: str, samples: int, *protection: str) -> Experiment:
    """A swarm whose devices have so many samples each and take one step on all of them."""
    words = [f"devices={DEVICES}", "topology=ring", "partition=iid", f"data={data}", "rounds=1",
             f"train.batch={samples}", "train.local_steps=1", f"optimizer.lr={LR}",
             "tracker=none", "scenario.arms=[swarm]", *protection]  # fmt: skip
    prepared = PreparedRun.prepare(Settings.parse(swarm.compose(words)))
    split = prepared.split
    place = np.arange(len(split.sample)) - split.ptr_N1[split.device_S]
    few = replace(prepared, split=restricted(split, place < samples))
    return few.experiment(few.arms[0], few.arms[0].first)


def inverted(e: Experiment, steps: int) -> tuple[Tensor, Tensor]:
    """The samples of device 0 as images, and what is found of them in its first message."""
    start_NP, sent_NP = first_messages(e)
    ids, layout, features = e.data.split.of(0), e.model.layout, e.data.features
    side = math.isqrt(math.prod(features))
    true = torch.as_tensor(e.data.dataset.x[ids]).double().view(len(ids), side, side)
    y = torch.as_tensor(e.data.dataset.y[ids])
    gradient_P = gradient_of(start_NP[0], sent_NP[0], LR)
    if len(ids) == 1:
        weight, bias = list(layout.views(gradient_P[None]).values())[:2]
        return true, exact_input(weight[0], bias[0]).view(1, side, side)
    search = Inversion(steps=steps, tries=2)
    row_P = start_NP[0].clone()
    return true, search(e.model.module(), layout, row_P, gradient_P, y, (side, side), features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", choices=["digits", "fashion_mnist"])
    parser.add_argument("--samples", type=int, default=4, help="of the device, all in its step")
    parser.add_argument("--steps", type=int, default=600, help="of the search")
    parser.add_argument("--png", type=Path, default=Path("docs/img/inversion.png"))
    given = parser.parse_args()
    rows: dict[str, Tensor] = {}
    for name, protection in PROTECTIONS.items():
        e = experiment(given.data, given.samples, *protection)
        true, found = inverted(e, given.steps)
        found, ratio = psnr(true, found.clamp(0, 1))
        spent = e.accountant
        epsilon = f", ε = {spent.epsilon_N(np.ones(DEVICES, np.int64)).max():.3g}" if spent else ""
        print(f"{name + epsilon:32s} PSNR {ratio:5.1f} dB")
        rows |= {"samples of the device": true, f"{name}{epsilon}\n{ratio:.1f} dB": found}
    draw(rows, given.png)
    print(given.png)


def draw(rows: dict[str, Tensor], file: Path) -> None:
    """One row of images for each protection."""
    columns = len(next(iter(rows.values())))
    size = (2.6 + 1.1 * columns, 1.15 * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for place, image in zip(line, images, strict=True):
            place.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            place.set_xticks([])
            place.set_yticks([])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
