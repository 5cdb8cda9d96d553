"""Read runs and plot what accuracy costs: three graphs, accuracy against bytes sent.

    python examples/accuracy_against_bytes.py [FOLDER]

`swarm.load` gives the records of a run as data frames: `run.arm(name)` has a row for each round.
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

from matplotlib.figure import Figure

import swarm

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp())
    small = ["devices=32", "rounds=30", "optimizer.lr=0.3", "tracker=none", "report=false"]
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for graph in ("ring", "hypercube", "complete"):
        settings = swarm.compose([f"topology={graph}", "scenario.arms=[swarm]", *small])
        run = swarm.load(swarm.run(settings, folder / graph).folder)
        rounds = run.arm("swarm").query("round > 0").dropna(subset=["accuracy_mean"])
        axes.plot(rounds["bytes_total"] / 2**20, rounds["accuracy_mean"], marker=".", label=graph)
    axes.set(xscale="log", xlabel="MiB sent by all devices", ylabel="mean accuracy of the devices")
    axes.legend(frameon=False)
    figure.savefig(folder / "accuracy_against_bytes.png", dpi=150, bbox_inches="tight")
    print("See", folder / "accuracy_against_bytes.png")
