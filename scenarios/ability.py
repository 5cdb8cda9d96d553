"""Claim 20: under drift, the ability to learn beats what a device knows at birth."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from scenarios import arms
from swarm.common.statistics import Bound, holds_if_all, interval
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Mean, Only, Results, Row

BATCH, STEPS = 4, 2
BIRTH, BEFORE, AFTER = "accuracy in the first round", "before the drift", "after the drift"
SLOWER = 10  # the knowing devices that are judged learn at least this many times as slowly
LOOK = 5  # who is ahead is asked of the mean accuracy of this many rounds
PARTS = (BIRTH, BEFORE, AFTER)
SWARM: dict[str, Any] = {"arm": "swarm"}
UNTRADED = "another start, in which the knowing are surely ahead before the drift"


class AbilityBudget(Budget):
    """``life`` is the number of rounds from birth to the drift, and from there to the end, each of
    two mini-batches of four samples. ``pretraining`` are rounds of learning before birth, ``rates``
    the learning rates after it; the largest one is where the pretraining starts.
    """

    devices: Count
    life: Annotated[int, Field(ge=LOOK)]
    pretraining: list[Annotated[int, Field(ge=0)]]
    rates: list[Annotated[float, Field(ge=0)]]


class Ability(Claim):
    """Devices are born with the knowledge that some rounds of pretraining leave, in which the
    learning rate falls along a cosine. After birth they learn at a constant rate, from a stream
    whose labels trade places in the middle of their life; with ``world=steady`` nothing changes.
    They exchange parameters in every round, also with a rate of 0.

    The *able* devices have the shortest pretraining and the largest rate, the *knowing* ones the
    longest pretraining and a rate of a tenth of that at most. Rounds of life are counted from
    birth. The pretraining is free: its samples and its steps count against nobody.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            20,
            "The ability to learn beats knowledge at birth.",
            "prequential accuracy, mean over the rounds of life before the label swap and over as"
            " many after it; the able devices (shortest pretraining, largest learning rate) minus"
            " the knowing ones (longest pretraining) at each learning rate of at most"
            f" 1/{SLOWER} of the largest, 0 included, paired by seed",
            "confirmed if at each of these rates the knowing are ahead before the swap and the able"
            " after it, with the 95% intervals of all differences; refuted if at one of them the"
            " knowing are ahead after it with the interval",
        ),
    )
    untested = (
        "Knowledge and ability that cost something: pretraining is free, and one learning rate "
        "takes as much computing as another. A drift that leaves what is known of use, as a "
        "rotation might (here four of ten labels trade places), or that comes more than once; a "
        "life longer than 40 rounds on either side of it; rates above 0.3, and other abilities "
        "than a rate. Devices that know and learn fast are best of all: knowledge and ability are "
        "no alternatives, and the able are compared with those that learn a tenth as fast or "
        "less. With every rate the swarm exchanges parameters."
    )
    Budget = AbilityBudget

    def conditions(self) -> list[Condition]:
        """Each pretraining with each rate, but for devices that neither know nor learn anything.
        Without drift there are the shortest and the longest pretraining; the controls are beside
        the able and beside the knowing that learn nothing more."""
        self._check()
        b = self.budget
        extremes = (b.pretraining[0], b.pretraining[-1])
        controls = (self._able("drift"), self._knowing(b.rates[0], "drift"))
        found = []
        for world, pretraining in (
            *(("drift", rounds) for rounds in b.pretraining),
            *(("steady", rounds) for rounds in extremes),
        ):
            for rate in b.rates:
                values = {"world": world, "pretraining": pretraining, "rate": rate}
                if pretraining or rate:
                    drift = {"drift": "label_swap" if world == "drift" else "none"}
                    run, learning = self._run(pretraining), self._learning(pretraining, rate)
                    found.append(
                        Condition.of(values, run, learning, drift, arms=arms(values in controls))
                    )
        return found

    def conclude(self, results: Results) -> list[Verdict]:
        found = self._by_life(results)
        able = self._able("drift")
        before, after = {}, {}
        for rate in self._slow():
            knowing = self._knowing(rate, "drift")
            before[rate] = found.difference(BEFORE, knowing | SWARM, able | SWARM)
            after[rate] = found.difference(AFTER, able | SWARM, knowing | SWARM)
        early = {f"knowledge before the drift, rate {at:g}": gap for at, gap in before.items()}
        late = {f"ability after the drift, rate {at:g}": gap for at, gap in after.items()}
        bounds = {name: Bound(gap, above=0) for name, gap in (early | late).items()}
        holds = holds_if_all(bounds[name].holds for name in late)
        traded = [bounds[name].holds for name in early]
        if holds and not all(traded):
            holds = None
        missing = UNTRADED if False in traded else ""
        both = self._knowing(self.budget.rates[-1], "drift")
        worth = found.difference(AFTER, both | SWARM, able | SWARM)
        least = min(after, key=lambda rate: after[rate].mean)
        shortest = min(before, key=lambda rate: before[rate].mean)
        because = (
            f"the knowing are {before[shortest].text(1, 100)} points ahead before the drift and the"
            f" able {after[least].text(1, 100)} after it (where least: rates {shortest:g} and"
            f" {least:g}); those of rate {least:g} are overtaken in round"
            f" {self._overtaken(found, least, 'drift')} of life, {self.budget.life} being the last"
            f" before the drift; where both learn fast, knowledge is worth {worth.text(1, 100)}"
            " points after it"
        )
        return [self.hypotheses[0].verdict(holds, because, bounds, missing)]

    def charts(self, results: Results) -> list[Chart]:
        found = self._by_life(results)
        accuracy = "prequential accuracy of the round"
        drift = (float(self.budget.life), "drift")
        return [
            Chart("Labels trade places in the middle of life", "round of life", accuracy,
                  self._lives(found, "drift"), at=drift),
            Chart("Nothing changes", "round of life", accuracy, self._lives(found, "steady")),
            *(
                Chart(f"What knowledge and ability give {part}", "learning rate after birth",
                      f"prequential accuracy {part}", self._by_rate(found, part), log_x=True,
                      level=self._ignorant(found, part))
                for part in (BEFORE, AFTER)
            ),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        found = self._by_life(results)
        knowing = self.budget.pretraining[-1]
        columns = {
            **{part: Mean(part) for part in PARTS},
            "overtaken by the able in round": Only(
                lambda row: self._overtaken(found, row["rate"], row["world"]),
                pretraining=knowing,
                arm="swarm",
            ),
        }
        return found.table(self.rows(), columns, own=("world", "pretraining", "rate", "arm"))

    def _check(self) -> None:
        for key in ("pretraining", "rates"):
            self.require_ascending(key, 2)
        valid = f"must have one of at most 1/{SLOWER} of the largest, such as 0"
        self.require(self._slow(), "rates", valid)

    def _slow(self) -> list[float]:
        """The rates at which the knowing are judged."""
        rates = self.budget.rates
        return [rate for rate in rates if rate * SLOWER <= rates[-1] * (1 + 1e-9)]

    def _able(self, world: str) -> dict[str, Any]:
        b = self.budget
        return {"world": world, "pretraining": b.pretraining[0], "rate": b.rates[-1]}

    def _knowing(self, rate: float, world: str) -> dict[str, Any]:
        return {"world": world, "pretraining": self.budget.pretraining[-1], "rate": rate}

    def _run(self, pretraining: int) -> dict[str, Any]:
        """A run ends with the life; streams go on, as their labels swap in the middle of them."""
        b = self.budget
        return {
            "devices": b.devices,
            "rounds": pretraining + 2 * b.life,
            "evaluate.every": pretraining + 2 * b.life,
            "update": "online",
            "train.batch": BATCH,
            "train.local_steps": STEPS,
            "data.per_device": 2 * (pretraining + b.life) * STEPS * BATCH,
        }

    def _learning(self, pretraining: int, rate: float) -> dict[str, Any]:
        if not pretraining:
            return {"optimizer.lr": rate}
        fastest = self.budget.rates[-1]
        return {
            "optimizer.lr": fastest,
            "schedule": "cosine",
            "schedule.rounds": pretraining,
            "schedule.floor": rate / fastest,
        }

    def _by_life(self, results: Results) -> Results:
        """The results with rounds of life in place of rounds, and for each arm the mean accuracy of
        each part of its life."""
        if results.finals.empty or results.curves.empty:
            return results
        life = self.budget.life
        curves = results.curves.assign(
            round=results.curves["round"] - results.curves["pretraining"]
        ).query("round > 0")
        finals = results.finals
        keys = ["world", "pretraining", "rate", "seed", "arm"]
        for part, (first, last) in {
            BIRTH: (1, 1),
            BEFORE: (1, life),
            AFTER: (life + 1, 2 * life),
        }.items():
            of_part = curves[curves["round"].between(first, last)]
            means = of_part.groupby(keys)["stream_accuracy"].mean().rename(part)
            finals = finals.merge(means.reset_index(), on=keys, how="left")
        return replace(results, finals=finals, curves=curves)

    def _lives(self, found: Results, world: str) -> list[Line]:
        rates = self.budget.rates
        named = {
            "knows and does not learn": self._knowing(rates[0], world),
            "knows and learns slowly": self._knowing(self._slow()[-1], world),
            "knows nothing and learns fast": self._able(world),
            "knows and learns fast": self._knowing(rates[-1], world),
        }
        different = {tuple(where.values()): (name, where) for name, where in named.items()}
        return found.by_rounds("stream_accuracy", dict(different.values()), **SWARM)

    def _by_rate(self, found: Results, part: str) -> list[Line]:
        learning = replace(found, finals=found.finals[found.finals["rate"] > 0])
        return [
            learning.along(part, "rate", f"{rounds} rounds of pretraining",
                           world="drift", pretraining=rounds, **SWARM)
            for rounds in self.budget.pretraining
        ]  # fmt: skip

    def _ignorant(self, found: Results, part: str) -> tuple[float, str]:
        rate = self.budget.rates[0]
        mean = found.mean(part, **self._knowing(rate, "drift"), **SWARM).mean
        return mean, f"{self.budget.pretraining[-1]} rounds, rate {rate:g}"

    def _overtaken(self, found: Results, rate: float, world: str) -> str:
        """The round of life at whose end the able are ahead of the knowing for the first time, in
        the mean accuracy of the last five rounds."""
        able, knowing = (
            _rolling(found, {**where, **SWARM})
            for where in (self._able(world), self._knowing(rate, world))
        )
        seeds = able.columns.intersection(knowing.columns)
        ahead = able[seeds] > knowing[seeds]
        first = ahead.idxmax()[ahead.any()]
        if len(first) == len(seeds) or first.empty:
            return interval(first.to_numpy(np.float64)).text(0) if len(first) else "never"
        return f"in {len(first)} of {len(seeds)} seeds"


def _rolling(found: Results, where: Row) -> pd.DataFrame:
    """The mean accuracy of the last five rounds, by round of life and seed."""
    rows = found.curves
    for key, value in where.items():
        rows = rows[rows[key] == value]
    rows = rows[~rows["seed"].isin(found.diverged_seeds(**where))]
    by_seed = rows.pivot(index="round", columns="seed", values="stream_accuracy")
    return by_seed.rolling(LOOK).mean().dropna(how="all")
