"""Shakespeare by speaking role: do roles that share models predict their own lines better than each
role alone?

    python -m swarm.data.fetch shakespeare
    python -m benchmarks.shakespeare                                  # 400 roles, context 64
    python -m benchmarks.shakespeare --roles 40 --rounds 20 model=mcsd  # fewer, and another model

Each device is a role and learns from the first 70% of its text; every character of the last 20% is
predicted from at most ``context`` before it. It prints the curves of swarm, isolated and
centralised: the mean over roles of the perplexity on the first of those sequences. At the end it
prints each arm's perplexity on all of them, with every device as it was when it was best on its
role's validation text. These perplexities are compared role by role with those of the other arms
and of a *pooled bigram model*, p(b | a) = (n(a, b) + k·p(b)) / (n(a) + k), which is counted in the
training text of all roles, with k chosen on their validation text. The centralised model learns
from as many characters as all devices together. Everything runs in one process.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from swarm.common.system import paths
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.experiment import Experiment
from swarm.simulation.loop import Simulation

Floats = npt.NDArray[np.float64]


def bigram(data: Dataset) -> Floats:
    """log p(b | a) of the pooled model, ``[C, C]``."""
    pair_CC = np.zeros((data.classes, data.classes))
    np.add.at(pair_CC, (data.x[data.train].astype(np.int64), data.y[data.train]), 1)
    one_C = (pair_CC.sum(0) + 1) / (pair_CC.sum() + data.classes)
    x, y = data.x[data.validation].astype(np.int64), data.y[data.validation]
    models = [
        np.log((pair_CC + k * one_C) / (pair_CC.sum(1, keepdims=True) + k))
        for k in (0.1, 1.0, 3.0, 10.0, 30.0, 100.0)
    ]
    return np.asarray(max(models, key=lambda model: model[x, y].mean()))


def of_roles(
    data: Dataset, ids: npt.NDArray[np.int64], roles: int, most: int | None
) -> list[npt.NDArray[np.int64]]:
    """Each role's sequences among these, the first ``most`` of them."""
    return [ids[data.owner[ids] == role][:most] for role in range(roles)]  # type: ignore[index]


def losses(e: Experiment, x_NP: torch.Tensor, ids: list[npt.NDArray[np.int64]]) -> Floats:
    """``[roles]``: mean loss a character of each role's sequences, by its own device, or by the
    only one.
    """
    module, data, found = e.model.module(), e.data.dataset, []
    for role, of in enumerate(ids):
        if role < len(x_NP):
            module.load_state_dict(e.model.layout.state_dict(x_NP[role]))
        with torch.no_grad():
            out = module(torch.from_numpy(data.x[of]))
            found.append(
                float(
                    nn.functional.cross_entropy(
                        out.flatten(0, 1), torch.from_numpy(data.y[of]).flatten()
                    )
                )
            )
    return np.array(found)


def run_arm(ready: PreparedRun, name: str, every: int) -> tuple[Floats, float]:
    """One arm to its end, its curve on the way: the final loss of each role, and the seconds it
    learned.
    """
    arm = next(arm for arm in ready.arms if arm.name == name)
    roles, settings, data = ready.settings.devices, arm.variants[0], ready.dataset
    quick, validation = (
        of_roles(data, data.test, roles, 1),
        of_roles(data, data.validation, roles, 4),
    )
    best, kept = np.inf, torch.empty(0)
    with Simulation(ready.experiment(arm, settings), ready.engine) as made:
        e, seconds = made.experiment, 0.0
        for stop in [*range(every, settings.rounds, every), settings.rounds]:
            begin = time.perf_counter()
            for _ in made.engine.advance(stop):
                pass
            seconds += time.perf_counter() - begin
            rows = made.engine.snapshot()["x"]
            found = losses(e, rows, validation)
            found = found if len(rows) > 1 else found.mean(keepdims=True)
            better = found < best  # every device stops where it is best on its own validation text
            kept = torch.where(torch.as_tensor(better)[:, None], rows, kept if len(kept) else rows)
            best = np.minimum(best, found)
            now = np.exp(losses(e, rows, quick)).mean()
            print(
                f"  {name:12s} round {stop:4d}  perplexity {now:6.2f}  {seconds:6.1f} s", flush=True
            )
        return losses(e, kept, of_roles(data, data.test, roles, None)), seconds


def report(found: dict[str, Floats], file: Path | None) -> None:
    ppl = {name: np.exp(loss) for name, loss in found.items()}
    print("perplexity on held-out text   mean  median    best   worst (over roles)")
    for name, p in ppl.items():
        print(f"  {name:25s} {p.mean():7.2f} {np.median(p):7.2f} {p.min():7.2f} {p.max():7.2f}")
    for name in ppl:
        if name != "swarm" and "swarm" in ppl:
            print(
                f"  swarm below {name:13s} for {(ppl['swarm'] < ppl[name]).mean():7.1%} of the"
                " roles"
            )
    if {"swarm", "isolated"} <= set(ppl):
        both = (ppl["swarm"] < np.minimum(ppl["isolated"], ppl["bigram"])).mean()
        print(f"  swarm below isolated and bigram for {both:.1%} of the roles")
    if file is not None:
        with file.open("w", newline="") as out:
            table = csv.writer(out)
            table.writerow(["role", *ppl])
            table.writerows(
                [i, *(f"{p[i]:.4f}" for p in ppl.values())] for i in range(len(ppl["bigram"]))
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--roles", type=int, default=400, help="the roles with the most text")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument(
        "--every", type=int, default=10, help="rounds between two points of a curve"
    )
    parser.add_argument(
        "--arms", type=lambda text: text.split(","), default="swarm,isolated,centralised"
    )
    parser.add_argument(
        "--csv", type=Path, default=None, help="also each role's perplexities, into this file"
    )
    parser.add_argument("overrides", nargs="*", help="further settings, such as model=mcsd")
    options = parser.parse_args()
    settings = [
        f"devices={options.roles}", f"rounds={options.rounds}", "data=shakespeare", f"data.owners={options.roles}",
        "data.held=null",
        "partition=natural", "topology=small_world", "model=gru", "model.width=32", "optimizer=adam", "optimizer.lr=0.01",
        "train.batch=8", "train.local_steps=3", "train.clip_norm=1.0", f"scenario.arms=[{','.join(options.arms)}]", "tracker=none",
        *options.overrides,
    ]  # fmt: skip
    with initialize_config_dir(str(paths.conf()), version_base="1.3"):
        ready = PreparedRun.prepare(Settings.parse(compose("config", overrides=settings)))
    data = ready.dataset
    test = of_roles(data, data.test, options.roles, None)
    log_CC = bigram(data)
    found = {
        "bigram": np.array([-log_CC[data.x[of].astype(np.int64), data.y[of]].mean() for of in test])
    }
    print(
        f"{options.roles} roles, {len(data.train)} training sequences of {data.x.shape[1]};"
        f" {len(data.test)} held out"
    )
    print(f"pooled bigram: perplexity {np.exp(found['bigram']).mean():.2f}, mean over roles")
    for name in options.arms:
        found[name], _ = run_arm(ready, name, options.every)
    report(found, options.csv)


if __name__ == "__main__":
    main()
