"""Reads ``+experiment=base_graph_accuracy``: the order of topologies by the accuracy of LeNet on
Fashion-MNIST (arXiv 2305.11420).

None of the paper's accuracies is held against ours, only the order. What counts as reproduced was
written before the runs: one graph is *above* another one if the 95% interval of the paired
differences over seeds is, and *at least as good* with fewer links if the mean difference is −0.5
points or more and the interval does not lie below 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.papers import IMAGES, Reals, Row, runs
from swarm.common.statistics import Interval, interval

UNLIKE, ALIKE = "0.1", "10"
RING, ONE_PEER, EXPONENTIAL = "ring", "one-peer exponential", "exponential"
BASE = {k: f"Base-{k + 1}" for k in (1, 2, 3, 4)}
LINKS = {RING: 2, ONE_PEER: 1, EXPONENTIAL: 5} | {name: k for k, name in BASE.items()}
"""The most messages that one of 25 devices sends in a round."""
WORSE = 0.5  # points by which "at least as good" may be missed on average

Scores = dict[tuple[str, str], dict[str, float]]
"""Accuracy in percent by α and graph, for each seed."""


def base_graph_accuracy(folder: Path) -> list[Row]:
    """The rows of the page's table; draws its picture."""
    found: Scores = defaultdict(dict)
    for part in ("graphs", "degrees"):
        for value, one in runs(folder / part):
            k = value.get("topology.k")
            name = BASE[int(k)] if k else value["topology"].replace("one_peer_", "one-peer ")
            score = one.arm("swarm")["accuracy_mean"].dropna().iloc[-1]
            found[value["partition.alpha"], name][value["seed"]] = 100 * float(score)
    picture(found)
    return order(found)


def order(found: Scores) -> list[Row]:
    """What the paper says of the order, and whether it is ours, too."""
    rows = [above(found, name, RING) for name in (EXPONENTIAL, *BASE.values())]
    rows.append(above(found, BASE[1], ONE_PEER))
    for name in BASE.values():
        ahead = difference(found, UNLIKE, name, EXPONENTIAL)
        holds = ahead.mean >= -WORSE and ahead.above(0) is not False
        what = f"{called(found, name)} over {called(found, EXPONENTIAL)}, with fewer links"
        text = f"mean ≥ −{WORSE}, not below 0"
        rows.append(Row(what, "at least as good", points(ahead), text, holds))
    for name in (EXPONENTIAL, BASE[1]):
        unlike, alike = (by_seed(found, alpha, name, RING) for alpha in (UNLIKE, ALIKE))
        less = interval(unlike - alike)
        ours = f"{points(less)} more at α = {UNLIKE} than {alike.mean():+.1f}"
        what = f"α = {ALIKE}: {called(found, name, ALIKE)} over {called(found, RING, ALIKE)}"
        rows.append(Row(what, "less", ours, "interval above 0", less.above(0) is True))
    return rows


def above(found: Scores, name: str, other: str) -> Row:
    """Whether one graph is better than another one where labels are unlike."""
    ahead = difference(found, UNLIKE, name, other)
    what = f"{called(found, name)} over {called(found, other)}"
    return Row(what, "above", points(ahead), "interval above 0", ahead.above(0) is True)


def by_seed(found: Scores, alpha: str, name: str, other: str) -> Reals:
    """By how many points a graph is above another one under each seed that both have."""
    one, two = found[alpha, name], found[alpha, other]
    return np.array([one[seed] - two[seed] for seed in sorted({*one} & {*two})])


def difference(found: Scores, alpha: str, name: str, other: str) -> Interval:
    """The mean over seeds of :func:`by_seed`, with its interval."""
    return interval(by_seed(found, alpha, name, other))


def called(found: Scores, name: str, alpha: str = UNLIKE) -> str:
    """A graph with its mean accuracy."""
    return f"{name} ({np.mean([*found[alpha, name].values()]):.1f}%)"


def drift(mixing: Sequence[Reals]) -> float:
    """How far devices are apart if every one of them is drawn its own way: the mean squared
    distance from the mean under x⁺ = W (x + b), over the rounds of a period and random b of mean
    square 1 about its mean. It is a linear picture of D-SGD with a small rate."""
    n = len(mixing[0])
    about = np.eye(n) - 1 / n
    D, found = np.zeros((n, n)), []
    for t in range(2000 + len(mixing)):
        D = mixing[t % len(mixing)] @ (D + about)
        found.append(np.square(about @ D).sum() / (n - 1))
    return float(np.mean(found[-len(mixing) :]))


def points(of: Interval) -> str:
    return f"{of.mean:+.1f} [{of.low:.1f}, {of.high:.1f}] points"


def picture(found: Scores) -> None:
    """Accuracy against the most messages of a device in a round, for both values of α."""
    figure = Figure(figsize=(7.5, 4))
    for axes, alpha in zip(figure.subplots(1, 2), (UNLIKE, ALIKE), strict=True):
        for i, (name, links) in enumerate(LINKS.items()):
            mean, low, high = interval([*found[alpha, name].values()])
            at = links + {ONE_PEER: 0.08, RING: 0.08}.get(name, 0.0)  # beside another with as many
            style = "s" if name in BASE.values() else "o"
            axes.errorbar(at, mean, [[mean - low], [high - mean]], fmt=f"C{i}{style}",
                          label=name, capsize=2, markersize=4)  # fmt: skip
        axes.set(title=f"α = {alpha}", xlabel="messages of a device in a round, at most")
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("accuracy, %: mean over devices and seeds")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    IMAGES.mkdir(parents=True, exist_ok=True)
    file = IMAGES / "base_graph_accuracy.png"
    figure.savefig(file, dpi=110, bbox_inches="tight", metadata={"Software": None})
