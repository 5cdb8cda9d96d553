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
from swarm.experiments.claims.results import NOTHING, Mean, Only, Results
from swarm.experiments.claims.shared.derived import with_measures

BATCH, STEPS = 4, 2
BIRTH, BEFORE, AFTER = "accuracy in the first round", "before the drift", "after the drift"
SLOWER = 10  # the knowing devices that are judged learn at least this many times as slowly
LOOK = 5  # who is ahead is asked of the mean accuracy of this many rounds
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
        b = self.budget
        for key in ("pretraining", "rates"):
            self.require_ascending(key, 2)
        valid = f"must have one of at most 1/{SLOWER} of the largest, such as 0"
        self.require(self._slow(), "rates", valid)
        shortest, longest = b.pretraining[0], b.pretraining[-1]
        controls = (("drift", shortest, b.rates[-1]), ("drift", longest, b.rates[0]))
        each = [("drift", pretraining) for pretraining in b.pretraining]
        each += [("steady", pretraining) for pretraining in (shortest, longest)]
        return [
            Condition.of({"world": world, "pretraining": pretraining, "rate": rate},
                         self._run(pretraining), self._learning(pretraining, rate),
                         {"drift": "label_swap" if world == "drift" else "none"},
                         arms=arms((world, pretraining, rate) in controls))
            for world, pretraining in each
            for rate in b.rates
            if pretraining or rate
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        found, able, slow = self._by_life(results), self._able("drift"), self._slow()
        knowing = {rate: self._knowing(rate, "drift") for rate in self.budget.rates}
        before = {rate: found.difference(BEFORE, knowing[rate], able) for rate in slow}
        after = {rate: found.difference(AFTER, able, knowing[rate]) for rate in slow}
        early = {f"knowledge before the drift, rate {at:g}": gap for at, gap in before.items()}
        late = {f"ability after the drift, rate {at:g}": gap for at, gap in after.items()}
        bounds = {name: Bound(gap, above=0) for name, gap in (early | late).items()}
        holds = holds_if_all(bounds[name].holds for name in late)
        traded = [bounds[name].holds for name in early]
        if holds and not all(traded):
            holds = None
        missing = UNTRADED if False in traded else ""
        worth = found.difference(AFTER, knowing[self.budget.rates[-1]], able)
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
        found, b = self._by_life(results), self.budget
        accuracy, moment = "prequential accuracy of the round", (float(b.life), "drift")
        born = {f"{n} rounds of pretraining": {"pretraining": n} for n in b.pretraining}
        learning = tuple(rate for rate in b.rates if rate)
        longest, never = b.pretraining[-1], b.rates[0]
        return [
            Chart("Labels trade places in the middle of life", "round of life", accuracy,
                  self._lives(found, "drift"), at=moment),
            Chart("Nothing changes", "round of life", accuracy, self._lives(found, "steady")),
            *(
                Chart(f"What knowledge and ability give {part}", "learning rate after birth",
                      f"prequential accuracy {part}",
                      found.lines_along(part, "rate", born, rate=learning, world="drift",
                                        arm="swarm"),
                      log_x=True, level=(found.mean(part, **self._knowing(never, "drift")).mean,
                                         f"{longest} rounds, rate {never:g}"))
                for part in (BEFORE, AFTER)
            ),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        found = self._by_life(results)
        columns = {
            **{part: Mean(part) for part in (BIRTH, BEFORE, AFTER)},
            "overtaken by the able in round": Only(
                lambda row: self._overtaken(found, row["rate"], row["world"]),
                pretraining=self.budget.pretraining[-1],
                arm="swarm",
            ),
        }
        return found.table(self.rows(), columns, own=("world", "pretraining", "rate", "arm"))

    def _slow(self) -> list[float]:
        """The rates at which the knowing are judged."""
        rates = self.budget.rates
        return [rate for rate in rates if rate * SLOWER <= rates[-1] * (1 + 1e-9)]

    def _able(self, world: str) -> dict[str, Any]:
        return _row(world, self.budget.pretraining[0], self.budget.rates[-1])

    def _knowing(self, rate: float, world: str) -> dict[str, Any]:
        return _row(world, self.budget.pretraining[-1], rate)

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
        if results.curves.empty:
            return results
        life, curves = self.budget.life, results.curves
        age = curves["round"] - curves["pretraining"]
        born = replace(results, curves=curves.assign(round=age)[age > 0])
        parts = {BIRTH: (1, 1), BEFORE: (1, life), AFTER: (life + 1, 2 * life)}

        def accuracies(curve: pd.DataFrame) -> dict[str, float]:
            each = {part: curve[curve["round"].between(*rounds)] for part, rounds in parts.items()}
            return {part: rows["stream_accuracy"].mean() for part, rows in each.items()}

        return with_measures(born, accuracies, ("world", "pretraining", "rate"))

    def _lives(self, found: Results, world: str) -> list[Line]:
        rates = self.budget.rates
        slow = {rates[0]: "does not learn", self._slow()[-1]: "learns slowly"}
        lives = {f"knows and {what}": self._knowing(rate, world) for rate, what in slow.items()}
        lives["knows nothing and learns fast"] = self._able(world)
        lives["knows and learns fast"] = self._knowing(rates[-1], world)
        return found.by_rounds("stream_accuracy", lives)

    def _overtaken(self, found: Results, rate: float, world: str) -> str:
        """The round of life at whose end the able are ahead of the knowing for the first time, in
        the mean accuracy of the last five rounds."""
        rows = (self._able(world), self._knowing(rate, world))
        able, knowing = (found.rolling("stream_accuracy", LOOK, **row) for row in rows)
        seeds = able.columns.intersection(knowing.columns)
        if seeds.empty:
            return NOTHING
        ahead = able[seeds] > knowing[seeds]
        first = ahead.idxmax()[ahead.any()]
        if first.empty:
            return "never"
        if len(first) < len(seeds):
            return f"in {len(first)} of {len(seeds)} seeds"
        return interval(first.to_numpy(np.float64)).text(0)


def _row(world: str, pretraining: int, rate: float) -> dict[str, Any]:
    return {"world": world, "pretraining": pretraining, "rate": rate, "arm": "swarm"}
