"""Results of two graphs under two seeds, made up."""

from __future__ import annotations

import numpy as np
import pandas as pd

from swarm.experiments.claims.results import Results

NOTHING = Results(pd.DataFrame(), pd.DataFrame())
SCORES = {("ring", 0): 0.8, ("ring", 1): 0.6, ("star", 0): 0.4, ("star", 1): 0.6}
RING, STAR = {"graph": "ring", "arm": "swarm"}, {"graph": "star", "arm": "swarm"}


def found(diverged: tuple[str, int] = ("", 0)) -> Results:
    """Two seeds of two graphs: scores that rise by a tenth a round to those of the end, and two
    devices, a tenth below it and above; ``diverged`` is left with a score of a tenth."""
    runs = [{"graph": graph, "seed": seed, "arm": "swarm"} for graph, seed in SCORES]
    finals = [
        {**run, "score": 0.1 if lost else score, "sent": 0.0, "diverged": lost}
        for run, score in zip(runs, SCORES.values(), strict=True)
        for lost in [(run["graph"], run["seed"]) == diverged]
    ]
    curves = [
        {**run, "round": round, "score": score - 0.1 * (2 - round), "spent": 10.0 * round + seed}
        for run, ((_, seed), score) in zip(runs, SCORES.items(), strict=True)
        for round in (2, 0, 1)
    ]
    devices = [
        {**run, "device": device, "kind": kind, "score": score + step}
        for run, score in zip(runs, SCORES.values(), strict=True)
        for device, (kind, step) in enumerate((("weak", -0.1), ("strong", 0.1), ("broken", np.nan)))
    ]
    return Results(*map(pd.DataFrame, (finals, curves)), devices=pd.DataFrame(devices))
