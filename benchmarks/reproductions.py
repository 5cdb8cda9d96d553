"""Runs the experiments of ``docs/reproductions.md``, holds what comes out against the papers, and
writes the page's tables and pictures. It takes some six minutes of one core, and exits with 1 if
a figure lies outside of its tolerance. ``base_graph_accuracy`` is run if it is named alone: it
needs Fashion-MNIST, and takes most of an hour.

    python -m benchmarks.reproductions [--only NAME …] [--folder FOLDER]

A run that is in FOLDER already is read and not run again. The formulas and fits are those of
``benchmarks/papers.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

import swarm
from benchmarks import papers
from benchmarks.base_graph_accuracy import base_graph_accuracy
from benchmarks.papers import Row, draw, near, runs

ROOT = Path(__file__).parents[1]
ERROR = "Σ‖x − x̄‖², share of the first"
PAGE = ROOT / "docs" / "reproductions.md"
TOP = "compressor=top_k compressor.fraction=0.01 compressor.feedback=false protocol.gamma=0.046"
TOP += " rounds=6500"
# The words behind +experiment=NAME of each command, and the folder that it leaves.
COMMANDS: dict[str, dict[str, str]] = {
    "base_graph": {"graphs": "", "degrees": "topology=base_graph topology.k=1,2,3,4"},
    "random_quadratics": {"sweep": ""},
    "choco_gossip": {"exact": "compressor=none", "8 bits": "", "top 1%": TOP},
    "exponential_graphs": {"sweep": ""},
    "scaffold_quadratics": {"sweep": ""},
    "dpsgd_speedup": {
        f"{n}": f"devices={n} optimizer.lr={0.00122 * n:g}" for n in (1, 2, 4, 8, 16)
    },
    "epidemic_variance": {"sweep": ""},
    "epidemic_accuracy": {"sweep": ""},
    "wsd_schedule": {"sweep": ""},
    "densing_law": {},
    "base_graph_accuracy": {"graphs": "", "degrees": "topology=base_graph topology.k=1,2,3,4"},
}
LONG = {base_graph_accuracy.__name__}
"""Those that are run only if they are asked for: they take long, and need data to be fetched."""


def run(name: str, folder: Path) -> None:
    """Run the commands of an experiment as a user types them, unless their runs are there."""
    for part, words in COMMANDS[name].items():
        place = folder / name / part
        many = name != "choco_gossip"
        if not many and (place / "summary.json").is_file():
            continue
        where = f"hydra.{'sweep' if many else 'run'}.dir={place}"
        command = [sys.executable, str(ROOT / "run_swarm.py"), f"+experiment={name}", where]
        done = subprocess.run(
            [*command, *words.split(), "tracker=none", "report=false"],
            stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode == 2:  # it was refused, and has said why
            raise SystemExit(2)
        if done.returncode:
            raise SystemExit(f"{name}: {' '.join(command)} ended with {done.returncode}")


def base_graph(folder: Path) -> list[Row]:
    lines, found = {}, {}
    for value, one in runs(folder / "graphs"):
        if value["devices"] == "25":
            share_T = (one.arm("gossip")["consensus_distance"] ** 2).to_numpy()
            share_T = np.maximum(share_T / share_T[0], 1e-33)
            lines[value["topology"]] = (np.arange(len(share_T)), share_T, ".-")
        exact = (one.summary or {})["rounds_to_one_value"]
        found[value["topology"], int(value["devices"])] = str(exact or "never")
    for value, one in runs(folder / "degrees"):
        exact = (one.summary or {})["rounds_to_one_value"]
        found[value["topology.k"], int(value["devices"])] = str(exact or "never")
    sizes, rows = range(21, 26), []
    for k, expected in papers.BASE_GRAPH.items():
        most = 2 * np.log(21) / np.log(k + 1) + 2
        paper, ours = " ".join(map(str, expected)), " ".join(found[f"{k}", n] for n in sizes)
        holds = paper == ours and max(expected) <= most
        what = f"Base-{k + 1} graph, n = 21 … 25: rounds to the exact mean"
        rows.append(Row(what, f"{paper}; at most {most:.1f}", ours, "exact", holds))
    ours = " ".join(found["one_peer_exponential", n] for n in sizes)
    what = "one-peer exponential, n = 21 … 25: rounds to the exact mean"
    rows.append(Row(what, "never", ours, "exact", {*ours.split()} == {"never"}))
    draw("base_graph", "round", ERROR, lines, "y", title="25 devices")
    return rows


def random_quadratics(folder: Path) -> list[Row]:
    curves: dict[tuple[str, float], list[Any]] = defaultdict(list)
    for value, one in runs(folder / "sweep"):
        key = value["topology"], 2 * float(value["optimizer.lr"])
        curves[key].append(one.arm("swarm")["loss_mean"].to_numpy())
    rate: dict[str, dict[float, float]] = defaultdict(dict)
    for (topology, eta), each in curves.items():
        loss_T = np.mean([loss_T[: min(map(len, each))] for loss_T in each], 0)
        kept = np.flatnonzero(np.isfinite(loss_T) & (loss_T > 1e-11 * loss_T[0]))[10:]
        if len(kept) >= 20:
            slope = np.polyfit(kept, np.log(loss_T[kept]), 1)[0]
            rate[topology][eta] = 1 - np.exp(slope)
    rows, lines = [], {}
    for topology in ("none", "ring", "one_peer_exponential", "torus", "hypercube", "complete"):
        ours = dict(sorted(rate[topology].items()))
        W = papers.mixings(topology, 32)
        expected = {eta: papers.quadratic_rate(W, eta) for eta in ours}
        eta = max(expected, key=expected.__getitem__)  # not of ours, which would be a lucky one
        n_eff, predicted = papers.by_neighbours(W, eta, expected[eta])
        what = f"{topology}: r at the best rate of the grid, η = {eta:g}, where n_W = {n_eff:.1f}"
        rows.append(near(what, predicted, ours[eta], 0.08))
        limit = papers.crossing(ours)
        rows.append(near(f"{topology}: largest stable η", papers.largest_rate(W), limit, 0.05))
        eta_K = np.geomspace(0.01, limit, 40)
        theory_K, colour = [papers.quadratic_rate(W, eta) for eta in eta_K], f"C{len(lines) // 2}"
        lines[f"{topology}, theory"] = (eta_K, theory_K, f"{colour}-")
        lines[topology] = ([*ours], [*ours.values()], f"{colour}o")
    what = "convergence rate r, 1 − E‖x⁺‖²/‖x‖²"
    draw("random_quadratics", "rate η", what, lines, "x", ylim=(0, 0.42))
    return rows


def choco_gossip(folder: Path) -> list[Row]:
    bits, rounds, slope, drift, lines, rows = {}, {}, {}, [], {}, []
    for part in COMMANDS["choco_gossip"]:
        one = swarm.load(folder / part)
        assert isinstance(one, swarm.LoadedRun)
        arm = one.arm("gossip")
        share_T = ((arm["consensus_distance"] / arm["consensus_distance"][0]) ** 2).to_numpy()
        rounds[part] = int(np.argmax(share_T < 1e-6))
        sent_T = arm["bytes_total"].to_numpy() * 8 / 50 / 1e6  # Mbit over one of 50 directed links
        bits[part] = sent_T[rounds[part]]
        lines[part] = (sent_T[1:], share_T[1:], "-")
        half = np.array_split(np.log(share_T[rounds[part] // 4 :]), 2)
        slopes = [np.polyfit(np.arange(len(part_T)), part_T, 1)[0] for part_T in half]
        slope[part] = slopes[1]
        what = f"{part}: slope of the log error in the second half over the first (linear: 1)"
        rows.append(near(what, 1, slopes[1] / slopes[0], 0.05))
        drift.append(arm["mean_drift"].max() / arm["consensus_distance"][0])
    rho = 1 - papers.gap("ring", 25)
    measured = np.exp(slope["exact"] / 2)
    rows.insert(0, near("exact: contraction by round, which is ρ", rho, measured, 0.001, 5))
    rows.append(Row("drift of the mean", "0", f"{max(drift):.0e}", "1e-12", max(drift) < 1e-12))
    what = "8 bits: rounds to 1e-6, as many as of exact messages"
    rows.append(near(what, rounds["exact"], rounds["8 bits"], 0.05, 0))
    for part in ("8 bits", "top 1%"):
        what = f"{part}: Mbit over a link to 1e-6, beside {bits['exact']:.1f} exact"
        rows.append(Row(what, "fewer", f"{bits[part]:.1f}", "–", bits[part] < bits["exact"]))
    draw("choco_gossip", "Mbit sent over a link", ERROR, lines, "y", ylim=(1e-7, 1))
    return rows


def exponential_graphs(folder: Path) -> list[Row]:
    rows, gap = [], {}
    for value, one in runs(folder / "sweep"):
        n, found = int(value["devices"]), one.summary or {}
        if value["topology"] == "exponential":
            gap[n] = 1 - found["rate_measured"]
            formula = 2 / (1 + np.ceil(np.log2(n)))
            row = near(f"static, n = {n}: spectral gap", formula, gap[n], 0.01)
            if n % 2:
                above = gap[n] > formula + 1e-6
                row = row._replace(paper=f"> {formula:.4f}", tolerance="–", holds=above)
        else:
            paper = str(n.bit_length() - 1) if n & (n - 1) == 0 else "never"
            ours = str(found["rounds_to_one_value"] or "never")
            what = f"one-peer, n = {n}: rounds to the exact mean"
            row = Row(what, paper, ours, "exact", paper == ours)
        rows.append(row)
    n_K = np.arange(6, 129, 2)
    lines = {"2/(1 + ⌈log₂ n⌉), n even": (n_K, 2 / (1 + np.ceil(np.log2(n_K))), "-")}
    lines["measured"] = ([*gap], [*gap.values()], "o")
    draw("exponential_graphs", "devices", "spectral gap of the static graph", lines)
    return sorted(rows, key=lambda row: (row.what[0] != "s", int(row.what.split()[3].rstrip(":"))))


def scaffold_quadratics(folder: Path) -> list[Row]:
    error: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    length = {}
    for value, one in runs(folder / "sweep"):
        best_P = papers.least_squares(*one.dataset("train"))
        key = value["protocol"], int(value["train.local_steps"])
        G = int(value["data.heterogeneity"])
        length[G] = float(np.square(best_P).sum())
        error[key][G] = float(np.square(one.rows("swarm")[0] - best_P).sum()) / length[G]
    rows = []
    grown = error["fedavg", 10][100] * length[100] / (error["fedavg", 10][10] * length[10])
    what = "FedAvg, K = 10: ‖x − x*‖² at G = 100 over that at G = 10"
    rows.append(near(what, 100, grown, 0.02, 1))
    change = error["scaffold", 2][100] / error["scaffold", 2][10]
    what = "SCAFFOLD, K = 2: ‖x − x*‖²/‖x*‖² at G = 100 over that at G = 10"
    rows.append(Row(what, "1", f"{change:.2f}", "±30%", abs(change - 1) < 0.3))
    for steps in (2, 10):
        ratio = error["scaffold", steps][100] / error["fedavg", steps][100]
        what = f"K = {steps}, G = 100: error of SCAFFOLD over FedAvg's"
        rows.append(Row(what, "→ 0", f"{ratio:.1e}", "≤ 0.01", ratio < 0.01))
    same = error["scaffold", 1][100] / error["fedavg", 1][100]
    rows.append(near("K = 1: SCAFFOLD over FedAvg, which are the same then", 1, same, 1e-6))
    for name, grows in (("fedavg", True), ("scaffold", False)):
        change = error[name, 10][100] / error[name, 2][100]
        what = f"{name}, G = 100: error at K = 10 over that at K = 2"
        holds = change > 1 if grows else change < 1
        rows.append(Row(what, "> 1" if grows else "< 1", f"{change:.1e}", "–", holds))
    lines = {}
    for i, ((name, steps), by_G) in enumerate(sorted(error.items())):
        G_K = sorted(by_G)
        style = f"C{i % 3}{'o--' if name == 'fedavg' else 's-'}"
        lines[f"{name}, K = {steps}"] = (G_K, [by_G[G] for G in G_K], style)
    what = "‖x − x*‖²/‖x*‖² after 120 rounds"
    draw("scaffold_quadratics", "heterogeneity G", what, lines, "xy")
    return rows


def dpsgd_speedup(folder: Path) -> list[Row]:
    found = {int(part): [*runs(folder / part)] for part in COMMANDS["dpsgd_speedup"]}
    best = {v["seed"]: papers.least_squares(*one.dataset("train")) for v, one in found[16]}
    needed: dict[int, float] = {}
    for n, each in found.items():
        curves = []
        for value, one in each:
            arm = one.arm("swarm").dropna(subset=["consensus_loss"])
            floor = papers.squared_error(*one.dataset("test"), best[value["seed"]])
            curves.append(arm["consensus_loss"].to_numpy() - floor)
        needed[n] = papers.reached(arm["round"].to_numpy(), np.mean(curves, 0), 0.15)
    n_K, speedup_K = [*needed], [needed[1] / needed[n] for n in needed]
    what = "rounds of one device over those of"
    rows = [near(f"{what} {n}", n, speedup_K[n_K.index(n)], 0.2, 1) for n in n_K[1:]]
    lines = {"linear": (n_K, n_K, "-"), "measured": (n_K, speedup_K, "o")}
    draw("dpsgd_speedup", "devices", f"{what} n", lines, "xy")
    return rows


def epidemic_variance(folder: Path) -> list[Row]:
    ratio: dict[tuple[str, int], list[float]] = defaultdict(list)
    for value, one in runs(folder / "sweep"):
        arm = one.arm("gossip")
        after = arm["consensus_distance"][1] ** 2 + arm["mean_drift"][1] ** 2
        key = (value["topology.variant"], int(value["topology.fanout"]))
        ratio[key].append(after / arm["consensus_distance"][0] ** 2)
    rows, lines = [], {}
    for variant in ("oracle", "local"):
        s_K = sorted(s for name, s in ratio if name == variant)
        for s in s_K:
            what = f"{variant}, s = {s}: variance after a round over that before"
            expected = papers.epidemic(variant, s, 96)
            rows.append(near(what, expected, float(np.mean(ratio[variant, s])), 0.02))
        fine_K = np.linspace(1, 8, 50)
        lines[f"{variant}, formula"] = (fine_K, papers.epidemic(variant, fine_K, 96), "-")
        lines[variant] = (s_K, [np.mean(ratio[variant, s]) for s in s_K], "o")
    draw("epidemic_variance", "receivers of a device, s", "variance ratio of a round", lines)
    return rows


def epidemic_accuracy(folder: Path) -> list[Row]:
    found = swarm.load(folder / "sweep")
    assert isinstance(found, swarm.SweepResults)
    lines, last, when = {}, {}, {}
    for name, rows in found.curves.groupby("topology", sort=False):
        score_K, round_K = rows["accuracy"].to_numpy(), rows["round"].to_numpy()
        lines[str(name)], last[name] = (round_K, score_K, "-"), score_K[-1]
    aim = last["random_regular"]
    for name, (round_K, score_K, _) in lines.items():
        when[name] = papers.reached(round_K, -score_K, -aim)
    ahead = 100 * (last["epidemic"] - last["random_regular"])
    faster = when["random_regular"] / when["epidemic"]
    draw("epidemic_accuracy", "round", "mean accuracy of the devices", lines)
    return [
        Row("accuracy over a static 4-regular graph, same bytes", "up to +2.2 points",
            f"{ahead:+.1f} points", "above 0", ahead > 0),
        Row("rounds to the static graph's final accuracy: static over epidemic", "up to 1.7",
            f"{faster:.2f}", "above 1", faster > 1),
    ]  # fmt: skip


def wsd_schedule(folder: Path) -> list[Row]:
    loss: dict[tuple[str, int, int], float] = {}
    for value, one in runs(folder / "sweep"):
        key = (value["schedule"], int(value["rounds"]), int(value["seed"]))
        loss[key] = float(one.arm("swarm")["loss_mean"].iloc[-1])
    lengths, seeds = (sorted({key[i] for key in loss}) for i in (1, 2))
    for seed in seeds:
        with redirect_stdout(StringIO()):
            again = papers.decays(folder, lengths, seed)
        loss |= {("from checkpoints", length, seed): again[length] for length in lengths}
    mean = {
        (name, length): float(np.mean([loss[name, length, seed] for seed in seeds]))
        for name, length, _ in loss
    }
    rows, lines = [], {}
    for length in lengths:
        what = f"{length} rounds: loss by a decay from the stable run, beside a run of its own"
        rows.append(near(what, mean["wsd", length], mean["from checkpoints", length], 0.1))
    for other, most, tolerance in (("cosine", 1.05, "5%"), ("constant", 1.0, "none")):
        ratios = [mean["wsd", length] / mean[other, length] for length in lengths]
        ours = " ".join(f"{ratio:.2f}" for ratio in ratios)
        what = f"{lengths[0]} … {lengths[-1]} rounds: loss under WSD over that under {other}"
        rows.append(Row(what, "at most 1", ours, tolerance, max(ratios) < most))
    for name in ("constant", "cosine", "wsd", "from checkpoints"):
        style = "o--" if name == "from checkpoints" else ".-"
        lines[name] = (lengths, [mean[name, length] for length in lengths], style)
    draw("wsd_schedule", "rounds", "test loss at the end", lines, "xy")
    return rows


def densing_law(folder: Path) -> list[Row]:
    known, found = papers.densing(0)
    days = np.log(2) / found.growth
    fits = {"known": (known.day_M, known.density_M, "-")}
    fits["recovered from scores"] = (found.day_M, found.density_M, "o")
    draw("densing_law", "day", "ln of the density ρ", fits)
    return [
        near("α, exponent of parameters", known.alpha, found.alpha, 0.02),
        near("β, exponent of samples", known.beta, found.beta, 0.02),
        near("γ, slope of the score", known.gamma, found.gamma, 0.1, 2),
        near("days in which the density doubles", 95, float(days), 0.05, 1),
    ]


def written(name: str, rows: list[Row]) -> None:
    """Put a table between the page's marks."""
    head = ["| | Paper | Ours | Tolerance | Verdict |", "|---|---|---|---|---|"]
    text, start, end = PAGE.read_text(encoding="utf-8"), f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = text.split(start)
    table = "\n".join([*head, *(row.text() for row in rows)])
    after = rest.split(end)[1]
    PAGE.write_text(f"{before}{start}\n{table}\n\n{end}{after}", encoding="utf-8")


def main() -> int:
    """Run, read and write the chosen reproductions; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=COMMANDS)
    parser.add_argument("--folder", type=Path, default=Path("outputs/reproductions"))
    args = parser.parse_args()
    missed = 0
    for name in args.only or [name for name in COMMANDS if name not in LONG]:
        run(name, args.folder)
        read: Callable[[Path], list[Row]] = globals()[name]
        rows = read(args.folder / name)
        print(f"\n{name}", *(row.text() for row in rows), sep="\n", flush=True)
        written(name, rows)
        missed += sum(not row.holds for row in rows)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
