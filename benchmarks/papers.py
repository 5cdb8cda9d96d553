"""What the papers of ``docs/reproductions.md`` say, as formulas and numbers, and the fits by which
``benchmarks/reproductions.py`` holds runs against them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.optimize import brentq

import swarm
from swarm.common.rng import Keys
from swarm.common.statistics import LossLaw, ScoreCurve, loss_law, score_curve, trend
from swarm.communication.mixing import effective_neighbours, second_eigenvalue, weights
from swarm.communication.topology.base import Topology, graph_of
from swarm.config.build import build, option

Reals = npt.NDArray[np.float64]

IMAGES = Path(__file__).parents[1] / "docs" / "img" / "reproductions"
BASE_GRAPH = {1: (9, 8, 9, 6, 9), 2: (5, 6, 6, 4, 6), 3: (4, 5, 5, 3, 5), 4: (4, 4, 4, 3, 2)}
"""Rounds of a period of the Base-(k+1) graph for 21 to 25 devices, by k, as the program that was
published with arXiv 2305.11420 constructs it."""
DECAY = {"warmup": 0.0, "decay": 1.0, "half_life": 0.25}
"""WSD of a run that is nothing but the decay, a tenth of the whole run, under the default options."""
FEATURES = 47
WEIGHT = np.array([[FEATURES + 1, FEATURES], [1, 0]])
ZETA = 1 + float(np.linalg.eigvals(WEIGHT).max())
"""ζ of arXiv 2206.03093 for z = (x, 1) with x ~ N(0, I), the features of a linear model with a bias.
E‖zzᵀe‖² is the sum of two shares, of the error in the weights and of that in the bias, and
``WEIGHT`` + 1 says what they become. Without a bias ζ would be features + 2."""


class Row(NamedTuple):
    """A line of a table: what is compared, the paper's figure, ours, and by how much they may
    differ."""

    what: str
    paper: str
    ours: str
    tolerance: str
    holds: bool

    def text(self) -> str:
        verdict = "reproduced" if self.holds else "**not reproduced**"
        return f"| {' | '.join((*self[:4], verdict))} |"


def near(what: str, paper: float, ours: float, share: float, digits: int = 4) -> Row:
    """A figure that may differ from the paper's by a share of it."""
    holds = abs(ours - paper) <= share * abs(paper) + 1e-12
    return Row(what, f"{paper:.{digits}f}", f"{ours:.{digits}f}", f"±{100 * share:g}%", holds)


def runs(folder: Path) -> Iterator[tuple[dict[str, str], swarm.LoadedRun]]:
    """The runs of a sweep, each with its values of the swept keys."""
    for file in sorted(folder.glob("*/summary.json")):
        yield dict(part.split("=") for part in file.parent.name.split(",")), _run(file.parent)


def draw(
    name: str, x: str, y: str, lines: dict[str, tuple[Any, Any, str]], log: str = "", **more: Any
) -> None:
    """A picture of lines: each has its abscissas, its ordinates and its style. ``log`` names the
    axes that are logarithmic."""
    figure = Figure(figsize=(6.5, 4))
    axes = figure.subplots()
    for label, (x_K, y_K, style) in lines.items():
        axes.plot(x_K, y_K, style, label=label, linewidth=1.4, markersize=4)
    axes.set(xlabel=x, ylabel=y, **{f"{axis}scale": "log" for axis in log}, **more)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    IMAGES.mkdir(parents=True, exist_ok=True)
    file, quiet = IMAGES / f"{name}.png", {"Software": None}
    figure.savefig(file, dpi=110, bbox_inches="tight", metadata=quiet)


def mixings(topology: str, devices: int) -> list[Reals]:
    """The mixing matrices of a period of a topology with the default options."""
    made: Topology = build(
        option("topology", topology), Topology, "topology",
        devices=devices, seed=0, owner_names=None,
    )  # fmt: skip
    rounds = range(1, (made.period or 1) + 1)
    graphs = (graph_of(made, made.phase(round), devices) for round in rounds)
    return [weights(graph).matrix.toarray() for graph in graphs]


def gap(topology: str, devices: int) -> float:
    """The spectral gap of a graph that does not change."""
    return 1 - second_eigenvalue(mixings(topology, devices)[0])


def quadratic_rate(mixing: Sequence[Reals], eta: float) -> float:
    """r of E‖x⁺‖² = (1 − r) E‖x‖² for D-SGD with the rate ``eta`` on random isotropic quadratics.

    It is the limit of C⁺ = W ((1 − η)² C + (ζ − 1) η² diag C) Wᵀ, where C holds E⟨x_i, x_j⟩.
    """
    C, shrunk = np.eye(len(mixing[0])), []
    for t in range(60 * len(mixing) + 240):
        W = mixing[t % len(mixing)]
        C = W @ ((1 - eta) ** 2 * C + (ZETA - 1) * eta**2 * np.diag(np.diag(C))) @ W.T
        shrunk.append(math.log(np.trace(C)))
        C /= np.trace(C)
    return 1 - math.exp(float(np.mean(shrunk[-12 * len(mixing) :])))


def by_neighbours(mixing: Sequence[Reals], eta: float, rate: float) -> tuple[float, float]:
    """n_W(γ) at γ = (1 − η)²/(1 − r), and the r that it predicts: 1 − (1 − η)² − (ζ − 1) η²/n_W
    (arXiv 2206.03093, section 3.1)."""
    n_eff = effective_neighbours(mixing, (1 - eta) ** 2 / (1 - rate))
    return n_eff, 1 - (1 - eta) ** 2 - (ZETA - 1) * eta**2 / n_eff


def largest_rate(mixing: Sequence[Reals]) -> float:
    """The η from which E‖x‖² no longer falls."""
    return float(brentq(lambda eta: quadratic_rate(mixing, eta), 0.02, 0.99, xtol=1e-4))


def crossing(rate: dict[float, float]) -> float:
    """The η where a measured rate becomes 0: a parabola through the last two stable rates and the
    first that is not."""
    eta_K = sorted(rate)
    first = next(i for i, eta in enumerate(eta_K) if rate[eta] < 0)
    three = eta_K[first - 2 : first + 1]
    roots = np.roots(np.polyfit(three, [rate[eta] for eta in three], 2)).real
    return float(next(root for root in sorted(roots) if three[1] <= root <= three[2]))


def epidemic(variant: str, s: Any, n: int) -> Any:
    """The factor on the variance about the first mean in a round of epidemic averaging, expected
    over the graph (arXiv 2310.01972)."""
    if variant == "oracle":
        return (1 - s / (n - 1)) / (s + 1)
    return (1 - (1 - s / (n - 1)) ** n) / s - 1 / (n - 1)


def least_squares(x_SF: Any, y_S1: Any) -> Reals:
    """The weights and the bias of the best linear model, ``[F + 1]``."""
    return np.asarray(np.linalg.lstsq(_with_one(x_SF), np.ravel(y_S1).astype(float), rcond=None)[0])


def squared_error(x_SF: Any, y_S1: Any, row_P: Reals) -> float:
    """The mean squared error of a linear model."""
    return float(np.square(_with_one(x_SF) @ row_P - np.ravel(y_S1)).mean())


def _with_one(x_SF: Any) -> Reals:
    return np.column_stack([np.asarray(x_SF, dtype=float), np.ones(len(x_SF))])


def reached(round_K: Any, value_K: Any, aim: float) -> float:
    """The round from which on a curve stays below ``aim``, interpolated; infinite if it does not
    end there."""
    above = np.flatnonzero(~(np.asarray(value_K) <= aim))
    if not len(above):
        return float(round_K[0])
    k = int(above[-1])
    if k + 1 == len(value_K):
        return math.inf
    share = (value_K[k] - aim) / (value_K[k] - value_K[k + 1])
    return float(round_K[k] + share * (round_K[k + 1] - round_K[k]))


def decays(folder: Path, lengths: Sequence[int], seed: int) -> dict[int, float]:
    """The final test loss for each length, by a decay from a checkpoint of one run with a stable
    rate (MiniCPM, arXiv 2404.06395). The decay is the last tenth, with the half-life of a run of
    that length, and it starts with the parameters that the stable run had there. Decays that are in
    ``folder`` are not run again."""
    words = ["+experiment=wsd_schedule", "hydra.mode=RUN", "tracker=none", "report=false"]
    words += [f"seed={seed}"]
    decay = ["schedule=wsd", *(f"schedule.{key}={value}" for key, value in DECAY.items())]
    stable, found = folder / f"stable-{seed}", {}
    for length in lengths:
        start, part = 9 * length // 10, folder / "decays" / f"rounds={length},seed={seed}"
        if not (part / "summary.json").is_file():
            if stable.is_dir():
                swarm.resume(stable, {"rounds": start})
            else:
                swarm.run(overrides=[*words, "schedule=constant", f"rounds={start}"], folder=stable)
            file = folder / f"start-{seed}.safetensors"
            swarm.save_start(file, _run(stable).state_dict("swarm", 0))
            ends = [f"rounds={length // 10}", f"init={file}"]
            swarm.run(overrides=[*words, *decay, *ends], folder=part)
        found[length] = float(_run(part).arm("swarm")["loss_mean"].iloc[-1])
    return found


def _run(folder: Path) -> swarm.LoadedRun:
    found = swarm.load(folder)
    assert isinstance(found, swarm.LoadedRun)
    return found


class Densing(NamedTuple):
    """What the fit of the Densing law finds, or what the scores were made with: the exponents of
    the loss, the slope of the score, the growth of ln ρ a day, and days and ln ρ for the
    picture."""

    alpha: float
    beta: float
    gamma: float
    growth: float
    day_M: Reals
    density_M: Reals


def densing(seed: int) -> tuple[Densing, Densing]:
    """Scores of models are made by the laws of arXiv 2412.04315 with known parameters and a little
    noise, and the paper's steps find these again: (known, found).

    A reference model of N parameters and D samples has the loss L = a N^−α + b D^−β; its score is
    S = c/(1 + e^(−γ(L − l))) + d. A released model of N parameters has the score of a reference
    model of N̂ = ρN parameters, and the density ρ grows as ln ρ = A t + B.
    """
    draw = Keys(seed, "densing").generator(0)
    law, curve = LossLaw(16.0, 0.24, 110.0, 0.28), ScoreCurve(0.75, -15.0, 0.2, 0.2)
    day_M = np.arange(0.0, 600, 20)
    growth, D0 = math.log(2) / 95, 1e12
    N_R, D_R = (each.ravel() for each in np.meshgrid(np.geomspace(1e7, 3e9, 8),
                                                     np.geomspace(1e10, 1e12, 6)))  # fmt: skip
    loss_R = law.at(N_R, D_R) * (1 + 0.001 * draw.standard_normal(len(N_R)))
    score_R = curve.at(loss_R) + 0.001 * draw.standard_normal(len(N_R))
    size_M, known_M = np.exp(draw.uniform(np.log(1e9), np.log(8e9), len(day_M))), growth * day_M
    effective_M = size_M * np.exp(known_M - 3)
    true_M = curve.at(law.of_samples(D0).at(effective_M))
    score_M = true_M + 0.001 * draw.standard_normal(len(day_M))
    fitted, scores = loss_law(N_R, D_R, loss_R), score_curve(loss_R, score_R)
    found_M = np.log(fitted.of_samples(D0).size(scores.loss(score_M)) / size_M)
    inside = np.isfinite(found_M)  # the curve has no inverse beyond its ends
    return (
        Densing(law.alpha, law.beta, curve.gamma, growth, day_M, known_M - 3),
        Densing(
            fitted.alpha,
            fitted.beta,
            scores.gamma,
            trend(day_M[inside], found_M[inside]).slope.mean,
            day_M[inside],
            found_M[inside],
        ),
    )
