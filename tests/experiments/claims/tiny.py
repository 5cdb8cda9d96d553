"""A claim of its own in one file, as a plug-in: what tests of the machinery judge."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from swarm.communication.topology.regular import Ring
from swarm.experiments.claims.base import Budget, Claim, Condition, Hypothesis, Suite, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Results

MOOD = "mood.txt"  # in the current folder: what becomes of runs with a Moody topology
PARENT = "SWARM_TEST_PARENT"  # of the environment: the process that only checks


class Moody(Ring):
    """A ring that does not always come to be, but always passes the check."""

    def __init__(self, devices: int) -> None:
        mood = Path(MOOD).read_text() if Path(MOOD).exists() else ""
        if os.environ.get(PARENT) != str(os.getpid()):
            if mood == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if mood == "raise":
                raise ZeroDivisionError("not my day")
        super().__init__(devices)


class TinyBudget(Budget):
    """``topologies`` are compared; those of ``foretold`` run after the prediction."""

    rounds: int
    topologies: list[str]
    foretold: list[str]


class Tiny(Claim):
    """Says something of two graphs, and always says yes of two seeds or more."""

    hypotheses: ClassVar = (
        Hypothesis(
            90,
            "Few <script>alert(1)</script> devices | learn.",
            "accuracy <b>",
            "confirmed if above & beyond 0",
        ),
    )
    Budget = TinyBudget

    def conditions(self) -> list[Condition]:
        return [self._of(name) for name in self.budget.topologies]

    def holdout(self) -> list[Condition]:
        return [self._of(name) for name in self.budget.foretold]

    def predict(self, results: Results) -> dict[str, Any]:
        return {"accuracy": results.by_seed("accuracy_mean", topology="ring", arm="swarm").mean()}

    def conclude(self, results: Results) -> list[Verdict]:
        a, b = ({"topology": self.budget.topologies[at], "arm": "swarm"} for at in (0, -1))
        found = results.difference("accuracy_mean", a, b)
        accuracy = results.mean("accuracy_mean", **b)
        given = {"difference": found, "accuracy": accuracy, "foretold": dict(results.prediction)}
        return [
            self.hypotheses[0].verdict(
                accuracy.mean > -1, f"accuracy {accuracy.text()} <i>", **given
            )
        ]

    def charts(self, results: Results) -> list[Chart]:
        lines = [
            results.by_round("accuracy_mean", name, topology=name, arm="swarm")
            for name in self.budget.topologies
        ]
        last = self.budget.topologies[-1]
        # a KeyError as long as it is not there
        level = results.finals.set_index("topology").loc[last, "accuracy_mean"]
        law = Line.law("a law", np.arange(3.0), np.full(3, float(np.mean(level))))
        return [
            Chart(
                "Title <u>of</u> $ & co",
                "round",
                "accuracy",
                [*lines, law],
                level=(0.5, "half"),
                at=(1, "one"),
            )
        ]

    def table(self, results: Results) -> pd.DataFrame:
        rows = [
            {
                "topology <hr>": name,
                "accuracy": results.mean("accuracy_mean", topology=name, arm="swarm").text(),
            }
            for name in self.budget.topologies
        ]
        return pd.DataFrame(rows)

    def _of(self, name: str) -> Condition:
        graph: dict[str, Any] = {"topology": name}
        if name == "moody":
            graph = {"topology": "ring", "topology._target_": "tiny.Moody"}
        return Condition(
            {"topology": name}, {**graph, "rounds": self.budget.rounds, "scenario.arms": ["swarm"]}
        )


class Other(Tiny):
    """The same under another name."""


class Both(Suite):
    """The two of them."""

    def members(self) -> list[str]:
        return ["tiny", "other"]
