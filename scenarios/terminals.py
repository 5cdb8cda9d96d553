"""Claim 8: kinds of terminals. Weak and strong devices learn together, or each kind by itself, for
the same virtual time; a round waits for everybody, has a deadline, or there are no rounds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from scenarios import CONTROLS, arms
from swarm.common.statistics import Bound, Interval, interval
from swarm.communication.network.fleet import MixedFleet
from swarm.config.build import build, chosen, option
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Figure, Mean, Results, Row

WEAK, STRONG = "weak", "strong"
KINDS = {WEAK: ("router", "board", "television", "phone"), STRONG: ("pc", "drone")}
MIXED, WEAK_ALONE, STRONG_ALONE = "mixed", "weak alone", "strong alone"
SWARMS = {MIXED: (WEAK, STRONG), WEAK_ALONE: (WEAK,), STRONG_ALONE: (STRONG,)}
DEGREE = 4
STEPS, MOST_STEPS, SECONDS, TICK = 4, 16, 0.15, 0.01
WAITS, DEADLINE, PAIRS = "waits", "deadline", "AD-PSGD"
METHODS: dict[str, dict[str, Any]] = {
    WAITS: {},
    DEADLINE: {"train.deadline": SECONDS, "train.local_steps": MOST_STEPS},
    PAIRS: {"protocol": "ad_psgd", "clock": "speed", "network.round_seconds": TICK},
}
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
        for swarm, method in itertools.product(SWARMS, METHODS):
            rounds = int(b.seconds / _round_seconds(swarm, method, b.each) * (1 + 1e-9))
            size = {
                "devices": b.each * len(_kinds(swarm)),
                "data.per_device": b.per_device,
                "topology.degree": DEGREE,
                "train.batch": BATCH,
                "train.local_steps": STEPS,
                "rounds": rounds,
                "evaluate.every": max(1, rounds // 8),
            }
            values, controls = {"swarm": swarm, "method": method}, (swarm, method) == (MIXED, WAITS)
            changes = (size, _shares(swarm), METHODS[method])
            found.append(Condition.of(values, *changes, arms=arms(controls)))
        return found

    def conclude(self, results: Results) -> list[Verdict]:
        found, verdicts = self._with_kinds(results), []
        for hypothesis, method in zip(self.hypotheses, METHODS, strict=True):
            gain = _minus_alone(found, method, WEAK, WEAK_ALONE)
            kept = _minus_alone(found, method, STRONG, STRONG_ALONE)
            because = (
                f"weak devices gain {gain.text(1, 100)} points on a swarm of weak ones, and strong"
                f" ones {kept.text(1, 100)} on a swarm of strong ones"
            )
            bounds = {
                "weak devices": Bound(gain, above=0),
                "strong devices": Bound(kept, above=-MARGIN),
            }
            verdicts.append(hypothesis.judged(bounds, because))
        return verdicts

    def charts(self, results: Results) -> list[Chart]:
        found = self._with_kinds(results)
        time = [
            results.against("accuracy_mean", "virtual_s", method, **_run(MIXED, method))
            for method in METHODS
        ]
        kinds = [self._by_speed(found, method) for method in METHODS]
        return [
            Chart("The mixed swarm", "virtual seconds", "accuracy, mean over devices", time),
            Chart("Each kind in the mixed swarm",
                  "speed of the kind, GFLOP/s in conf/fleet/terminals.yaml",
                  "accuracy, mean over its devices", kinds, log_x=True),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        found = self._with_kinds(results)
        rows = [
            {**_run(swarm, method), "devices": devices}
            for swarm, method in itertools.product(SWARMS, METHODS)
            for devices in SWARMS[swarm]
        ]

        def of_run(row: Row, metric: str) -> Interval:
            return results.mean(metric, **_run(row["swarm"], row["method"]))

        columns = {
            "accuracy": Mean(lambda row: found.over_devices("accuracy", **row)),
            "joules a device": Mean(lambda row: found.over_devices("joules", **row), 1),
            "virtual seconds": Mean(lambda row: of_run(row, "virtual_s"), 1),
            "steps of all": Figure(lambda row: of_run(row, "steps_total").mean, ",.0f"),
        }
        table = results.table(rows, columns, own=("swarm", "method", "devices"))
        accuracy, steps = Mean("accuracy_mean"), Figure("steps_total", ",.0f")
        controls = results.table(
            [{**_run(MIXED, WAITS), "arm": arm} for arm in CONTROLS],
            {"swarm": "arm", "accuracy": accuracy, "steps of all": steps},
        )
        return pd.concat([table, controls]).fillna("–")

    def _with_kinds(self, results: Results) -> Results:
        """The results whose devices are ``weak`` or ``strong``, and have their speed in GFLOP/s,
        before it is divided."""
        rows = results.devices
        if rows.empty:
            return results
        each = zip(rows["swarm"], rows["seed"], rows["device"], strict=True)
        fleets = [(fleet_of(swarm, self.budget.each, seed), at) for swarm, seed, at in each]
        names = [STRONG if fleet.kind(at) in KINDS[STRONG] else WEAK for fleet, at in fleets]
        speeds = [fleet.hardware.flops[at] * SLOWER / 1e9 for fleet, at in fleets]
        return replace(results, devices=rows.assign(devices=names, speed=speeds))

    def _by_speed(self, found: Results, method: str) -> Line:
        """The accuracy in the mixed swarm; a board and a television set have the same speed."""
        where = _run(MIXED, method)
        speeds = np.unique(fleet_of(MIXED, self.budget.each).hardware.flops * SLOWER / 1e9)
        y = [interval(found.over_devices("accuracy", speed=speed, **where)) for speed in speeds]
        return Line.through(method, speeds, y, "points")


def _run(swarm: str, method: str) -> dict[str, Any]:
    return {"swarm": swarm, "method": method, "arm": "swarm"}


def _minus_alone(found: Results, method: str, devices: str, alone: str) -> Interval:
    """The accuracy of weak or strong devices in the mixed swarm minus that in their own."""
    mixed, own = (
        found.over_devices("accuracy", devices=devices, **_run(swarm, method))
        for swarm in (MIXED, alone)
    )
    return interval(mixed - own)


def _kinds(swarm: str) -> list[str]:
    return [kind for devices in SWARMS[swarm] for kind in KINDS[devices]]


def _shares(swarm: str) -> dict[str, float]:
    """The settings of a fleet in which the kinds of a swarm have equal shares, and all speeds are
    divided by :data:`SLOWER`."""
    kinds, found = _kinds(swarm), {}
    for kind, figures in option("fleet", "terminals")["classes"].items():
        found[f"fleet.classes.{kind}.share"] = 1 / len(kinds) if kind in kinds else 0.0
        found[f"fleet.classes.{kind}.flops"] = figures["flops"] / SLOWER
    return found


@cache
def fleet_of(swarm: str, each: int, seed: int = 0) -> MixedFleet:
    """The hardware of a swarm with so many devices of ``each`` kind."""
    node = chosen("fleet", {"fleet": "terminals", **_shares(swarm)})
    return build(node, MixedFleet, "fleet", devices=each * len(_kinds(swarm)), seed=seed)


def _round_seconds(swarm: str, method: str, each: int) -> float:
    """The virtual seconds of a round: its slowest device computes, and sends over all its links."""
    if method == PAIRS:
        return TICK
    hardware = fleet_of(swarm, each).hardware
    step_N = STEP_FLOPS / hardware.flops
    line_N = MESSAGE_BITS / np.minimum(hardware.uplink / DEGREE, hardware.downlink.min())
    fits_N = np.floor((SECONDS - line_N) / step_N).clip(0, MOST_STEPS)
    steps_N = fits_N if method == DEADLINE else STEPS
    return float((steps_N * step_N + line_N).max())
