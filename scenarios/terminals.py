"""Claim 8: kinds of terminals. Weak and strong devices learn together, or each kind by itself, for
the same virtual time; a round waits for everybody, has a deadline, or there are no rounds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from scenarios import CONTROLS, arms
from swarm.common.statistics import Bound, Interval, interval
from swarm.communication.network.fleet import MixedFleet
from swarm.config.build import option
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Figure, Mean, Results

WEAK, STRONG = ("router", "board", "television", "phone"), ("pc", "drone")
MIXED, WEAK_ALONE, STRONG_ALONE = "mixed", "weak alone", "strong alone"
SWARMS: dict[str, tuple[str, ...]] = {
    MIXED: (*WEAK, *STRONG),
    WEAK_ALONE: WEAK,
    STRONG_ALONE: STRONG,
}
WAITS, DEADLINE, PAIRS = "waits", "deadline", "AD-PSGD"
METHODS = (WAITS, DEADLINE, PAIRS)
STEPS, MOST_STEPS, SECONDS = 4, 16, 0.15
TICK = 0.01
DEGREE = 4
# The models of these runs are small: with the figures of conf/fleet/terminals.yaml they would
# compute for a hundredth of the time that they send. All speeds are divided by this, so that a
# round takes both about equally long, as with a model of 200 times the FLOP for each number sent.
SLOWER = 200.0
BATCH, STEP_FLOPS, MESSAGE_BITS = 16, 323584.0, 153920.0  # of model=mlp on digits
MARGIN = 0.01
_RULE = (
    "confirmed if weak devices gain with the 95% interval, and strong ones are not"
    f" {MARGIN:.0%} or more below a swarm of strong ones with it; refuted if one of the two"
    " differences is on the other side with its interval"
)
_METRIC = (
    "test accuracy, mean over the weak devices of the mixed swarm minus that of a swarm of weak"
    " ones alone, and mean over its strong devices minus that of a swarm of strong ones alone,"
    " after the same virtual time, paired by seed"
)


class KindsBudget(Budget):
    """``each`` is the number of devices of each kind, ``per_device`` that of the training samples
    of a device, ``seconds`` the virtual time of a run."""

    each: Count
    per_device: Count
    seconds: float


class KindsOfTerminals(Claim):
    """As many devices of each of six kinds: routers, boards, television sets and phones are weak,
    PCs and drones strong. Speeds, lines and energies are those of `fleet=terminals`, the speeds
    divided by 200. What differs between devices is their speed, lines, steps and data; all have
    the same model. (Models of several widths are not part of this scenario.) Every swarm learns
    for the same virtual time: by rounds that wait for the slowest device (`waits`, D-PSGD), by
    rounds in which each device takes the steps that fit (`deadline`), or without rounds
    (`AD-PSGD`). The controls isolated and centralised have the rounds of the mixed swarm that
    waits; isolated devices take less time for these, and the centralised model none."""

    hypotheses: ClassVar = tuple(
        Hypothesis(8, statement, _METRIC, _RULE)
        for statement in (
            "Weak devices gain from strong ones without holding them back, even if every round"
            " waits for the slowest.",
            "Weak devices gain from strong ones without holding them back, if every round has a"
            " deadline.",
            "Weak devices gain from strong ones without holding them back, if nobody waits"
            " (AD-PSGD).",
        )
    )
    untested = (
        "Models of several widths, and memory: what varies between devices is their speed, lines, "
        "local steps and data. Speeds are those of fleet=terminals divided by 200, so that these "
        "small models compute about as long as they are sent; all methods have the same learning "
        "rate. A swarm of one kind has fewer devices, and as many samples for each. After 20 "
        "virtual seconds all curves are nearly flat, so that who waits for whom hardly shows any "
        "more; after 2.5 the mixed swarm with a deadline is at 0.82, AD-PSGD at 0.78 and the one "
        "that waits at 0.55."
    )
    Budget = KindsBudget

    def conditions(self) -> list[Condition]:
        """Each swarm with each method; the controls run with the mixed swarm that waits."""
        b, found = self.budget, []
        for swarm, kinds in SWARMS.items():
            shares = {f"fleet.classes.{k}.{n}": v for k, s in _classes(swarm).items()
                      for n, v in s.items() if n in ("share", "flops")}  # fmt: skip
            for method in METHODS:
                rounds = self._rounds(method, kinds)
                changes: dict[str, Any] = {
                    "devices": b.each * len(kinds),
                    "data.per_device": b.per_device,
                    "topology.degree": DEGREE,
                    "train.batch": BATCH,
                    "train.local_steps": STEPS,
                    "rounds": rounds,
                    "evaluate.every": max(1, rounds // 8),
                    **shares,
                    **_changes(method),
                }
                first = swarm == MIXED and method == WAITS
                values = {"swarm": swarm, "method": method}
                found.append(Condition.of(values, changes, arms=arms(first)))
        return found

    def _rounds(self, method: str, kinds: Sequence[str]) -> int:
        """The rounds that end within the virtual time of a run."""
        return int(self.budget.seconds / _round_seconds(method, kinds) * (1 + 1e-9))

    def conclude(self, results: Results) -> list[Verdict]:
        return [
            self._judged(results, hypothesis, method)
            for hypothesis, method in zip(self.hypotheses, METHODS, strict=True)
        ]

    def _judged(self, results: Results, hypothesis: Hypothesis, method: str) -> Verdict:
        gain = self._difference(results, method, WEAK, WEAK_ALONE)
        kept = self._difference(results, method, STRONG, STRONG_ALONE)
        because = (
            f"weak devices gain {gain.text(1, 100)} points on a swarm of weak ones, and strong ones"
            f" {kept.text(1, 100)} on a swarm of strong ones"
        )
        bounds = {
            "weak devices": Bound(gain, above=0),
            "strong devices": Bound(kept, above=-MARGIN),
        }
        return hypothesis.judged(bounds, because)

    def charts(self, results: Results) -> list[Chart]:
        time = [_over_time(results, method) for method in METHODS]
        kinds = [self._by_kind(results, method) for method in METHODS]
        return [
            Chart("The mixed swarm", "virtual seconds", "accuracy, mean over devices", time),
            Chart("Each kind in the mixed swarm",
                  "speed of the kind, GFLOP/s in conf/fleet/terminals.yaml",
                  "accuracy, mean over its devices", kinds, log_x=True),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        rows = []
        for (swarm, members), method in itertools.product(SWARMS.items(), METHODS):
            where = {"swarm": swarm, "method": method, "arm": "swarm"}
            of_all = {
                "virtual seconds": results.mean("virtual_s", **where).text(1),
                "steps of all": f"{results.mean('steps_total', **where).mean:,.0f}",
            }
            for name, kinds in (("weak", WEAK), ("strong", STRONG)):
                if set(kinds) <= set(members):
                    right, joules = (
                        interval(self._by_seed(results, what, where, kinds))
                        for what in ("accuracy", "joules")
                    )
                    row = {"swarm": swarm, "method": method, "devices": name}
                    row |= {"accuracy": right.text(), "joules a device": joules.text(1)}
                    rows.append(row | of_all)
        accuracy, steps = Mean("accuracy_mean"), Figure("steps_total", ",.0f")
        controls = results.table(
            [{"swarm": MIXED, "method": WAITS, "arm": arm} for arm in CONTROLS],
            {"swarm": "arm", "accuracy": accuracy, "steps of all": steps},
        )
        return pd.concat([pd.DataFrame(rows), controls]).fillna("–")

    def _difference(
        self, results: Results, method: str, kinds: Sequence[str], alone: str
    ) -> Interval:
        """The accuracy of these kinds in the mixed swarm minus that in the swarm ``alone``."""
        mixed, other = (
            self._by_seed(
                results, "accuracy", {"swarm": swarm, "method": method, "arm": "swarm"}, kinds
            )
            for swarm in (MIXED, alone)
        )
        return interval(mixed - other)

    def _by_seed(
        self, results: Results, of: str, where: dict[str, Any], kinds: Sequence[str]
    ) -> pd.Series[float]:
        """The final number of a device, mean over the devices of these kinds, by seed."""
        rows, found = results.devices, {}
        if rows.empty:
            return pd.Series(dtype=np.float64)
        for key, value in where.items():
            rows = rows[rows[key] == value]
        for seed in sorted(set(rows["seed"].tolist())):
            group = rows[rows["seed"] == seed]
            kind_N = kinds_of(where["swarm"], self.budget.each, seed)
            chosen = np.isin(kind_N[group["device"].to_numpy()], kinds)
            found[seed] = float(group[of].to_numpy()[chosen].mean())
        return pd.Series(found, dtype=np.float64)

    def _by_kind(self, results: Results, method: str) -> Line:
        where = {"swarm": MIXED, "method": method, "arm": "swarm"}
        flops = {kind: s["flops"] * SLOWER / 1e9 for kind, s in _classes(MIXED).items()}
        # a board and a television set have the same speed
        speeds = sorted(set(flops.values()))
        alike = [[kind for kind in flops if flops[kind] == speed] for speed in speeds]
        y = [interval(self._by_seed(results, "accuracy", where, kinds)) for kinds in alike]
        return Line.through(method, speeds, y, "points")


def _over_time(results: Results, method: str) -> Line:
    """The mean accuracy of the mixed swarm over virtual time; all seeds have the same rounds."""
    where = {"swarm": MIXED, "method": method, "arm": "swarm"}
    line = results.by_round("accuracy_mean", method, **where)
    time = results.by_round("virtual_s", method, **where)
    at = dict(zip(time.x_K.tolist(), time.y_K.tolist(), strict=True))
    x_K = np.array([at[round] for round in line.x_K.tolist()], np.float64)
    return Line(method, x_K, line.y_K, line.low_K, line.high_K, "line")


def _changes(method: str) -> dict[str, Any]:
    """The settings of a method."""
    if method == DEADLINE:
        return {"train.deadline": SECONDS, "train.local_steps": MOST_STEPS}
    if method == PAIRS:
        return {"protocol": "ad_psgd", "clock": "speed", "network.round_seconds": TICK}
    return {}


def _classes(swarm: str) -> dict[str, dict[str, Any]]:
    """The kinds of devices of a swarm: all have equal shares, and speeds divided by SLOWER."""
    kinds = SWARMS[swarm]
    return {
        kind: {
            **figures,
            "share": 1 / len(kinds) if kind in kinds else 0.0,
            "flops": figures["flops"] / SLOWER,
        }
        for kind, figures in option("fleet", "terminals")["classes"].items()
    }


@cache
def kinds_of(swarm: str, each: int, seed: int) -> np.ndarray[Any, np.dtype[np.str_]]:
    """The kind of each device of a swarm, ``[N]``."""
    fleet = MixedFleet(each * len(SWARMS[swarm]), seed, _classes(swarm))
    return np.array(fleet.names)[fleet.class_N]


def _round_seconds(method: str, kinds: Sequence[str]) -> float:
    """The virtual seconds of a round: its slowest device computes, and sends over all its links."""
    if method == PAIRS:
        return TICK
    found, classes = 0.0, _classes(MIXED)
    slowest_downlink = min(classes[kind]["downlink"] for kind in kinds)
    for kind in kinds:
        step = STEP_FLOPS / classes[kind]["flops"]
        line = MESSAGE_BITS / min(classes[kind]["uplink"] / DEGREE, slowest_downlink)
        steps = STEPS
        if method == DEADLINE:
            steps = min(MOST_STEPS, int((SECONDS - line) / step))
        found = max(found, steps * step + line)
    return found
