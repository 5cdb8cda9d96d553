"""Claim 22: a swarm of small devices needs less energy for its accuracy than a server."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import pandas as pd

from scenarios import CONTROLS, arms
from scenarios.compression import MESSAGES
from swarm.common.statistics import Bound, Interval, interval
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Mean, Only, Results, Row, Text

ACCURACY = "accuracy_mean"
TARGET = 0.9
CHANCE = 0.1  # ten classes
PLAIN = "every number"
CENTRE = {"sharing": PLAIN, "arm": "centralised"}
# The compressed messages have the consensus steps γ of scenarios/compression.py.
SHARING: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "8 bits a number": {"protocol": "choco", **MESSAGES["8 bits"]},
    "a tenth of the numbers": {"protocol": "choco", **MESSAGES["10% of the numbers"]},
    "every number after 25 steps": {"train.local_steps": 25},
}
# The device: the power of a brain, and the computing of a small board (conf/fleet/uniform.yaml).
# It is on anyway, so that only what learning adds is counted: no idle power.
DEVICE = {
    "fleet.flops": 2.0e9,
    "fleet.active": 20.0,
    "fleet.idle": 0.0,
    "fleet.radio_send": 2.3e-6,
    "fleet.radio_receive": 1.1e-6,
}
# The server, all ESTIMATES: 2,000 W with its cooling, and a twentieth of a large accelerator's peak
# of 67 TFLOP/s in single precision, as for the devices of conf/fleet/terminals.yaml.
SERVER_W, SERVER_FLOPS = 2000.0, 3.3e12
# Every device sends its samples once, 4 bytes a feature and a label, and receives the final model.
NUMBER_BYTES = 4
# How far each of the three prices (a FLOP on a device, a byte by radio, a FLOP on the server) may
# be from its estimate, in either direction.
WRONG_BY = 3.0
UNSURE = "closer prices of energy, as the two ends of what they can be say opposite things"


class Prices(NamedTuple):
    """How many times as high as estimated the prices are: of a FLOP on a device, of a byte by
    radio, and of a FLOP on the server."""

    device_flop: float = 1.0
    radio: float = 1.0
    server_flop: float = 1.0


ESTIMATED, PARTS = Prices(), list(Prices._fields)


class Energy(Claim):
    """The energy until the mean accuracy is 90% for the first time: of a swarm, of isolated
    devices, and of one model on a server that is sent all samples. A device has the power of a
    brain (20 W while it learns) and pays for each byte by radio; the server has 2,000 W. Both learn
    from equally many samples a round. Devices and server are on anyway, so that idle power counts
    for neither; what networks beyond the radio take is not counted either.

    All prices are estimates. So the ratio of the two energies is computed with each of three prices
    three times as high and a third as high, in all combinations, and the verdict has to hold in
    each of them. What the swarm sends is varied, and the cheapest kind is judged.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            22,
            "A swarm needs less energy for a point of accuracy than a centre.",
            f"joules until the mean accuracy is {TARGET:.0%}, of the swarm divided by those of the"
            " centralised model, paired by seed; the kind of sharing with the smallest mean ratio;"
            f" prices up to {WRONG_BY:g} times off in either direction",
            "confirmed if the ratio is below 1 with its 95% interval under the prices that favour"
            " the centre most; refuted if it is above 1 with its interval under the prices that"
            f" favour the swarm most, or if no kind of sharing reaches {TARGET:.0%} under all seeds"
            " while the centralised model does",
        ),
    )
    untested = (
        "Data that are large beside a model: the samples of digits are small, so that to send "
        "them to a server once costs less than one round of models. Idle power, the making of the "
        "hardware, and what networks beyond the radio take. Prices are estimates, each of which "
        "may be three times off; a server that has no other work is as cheap a FLOP as a busy "
        "one."
    )
    Budget = SizedBudget

    def conditions(self) -> list[Condition]:
        """Each kind of sharing; the controls run once, beside the plain one."""
        size = {**self.budget.size(), "evaluate.every": 1, "fleet": "uniform"}
        return [
            Condition.of({"sharing": name}, size, DEVICE, changes, arms=arms(name == PLAIN))
            for name, changes in SHARING.items()
        ]

    def conclude(self, results: Results) -> list[Verdict]:
        counted = self._counted(results)
        ratios = {name: _ratio(counted, name) for name in SHARING}
        reached = {name: each for name, each in ratios.items() if math.isfinite(each.mean)}
        if not reached:
            centre = _spent(counted, CENTRE)
            holds = False if len(centre) and centre.notna().all() else None
            because = f"no swarm reached {TARGET:.0%} under all seeds"
            missing = "more rounds, as the centre does not reach it under all seeds either"
            return [self.hypotheses[0].verdict(holds, because, missing=missing)]
        best = min(reached, key=lambda name: reached[name].mean)
        low, high = _ends(counted, best)
        holds = True if high.below(1) else False if low.above(1) else None
        because = (
            f"the swarm that sends {best} takes {reached[best].text(0)} times the energy of the"
            f" centre; {low.text(0)} times under the prices that favour it most,"
            f" {high.text(0)} under those that favour the centre most"
        )
        ends = {"at best": low, "at worst": high}
        # the end that decides if it is sure: the worst one confirms, the best one refutes
        decides = "at worst" if high.mean < 1 else "at best"
        bounds = {decides: Bound(ends[decides], below=1)}
        missing = UNSURE if low.mean < 1 < high.mean else ""
        return [self.hypotheses[0].verdict(holds, because, bounds, missing, **ratios, **ends)]

    def charts(self, results: Results) -> list[Chart]:
        counted = self._counted(results)
        shown = {name: {"sharing": name, "arm": "swarm"} for name in SHARING}
        shown |= {arm: {"sharing": PLAIN, "arm": arm} for arm in CONTROLS}
        level = (TARGET, f"{TARGET:.0%}")
        return [
            Chart("Accuracy against what it took",
                  "joules of all devices, or of the server and of sending to it",
                  "accuracy, mean over devices",
                  [counted.against(ACCURACY, "joules", name, **row) for name, row in shown.items()],
                  log_x=True, level=level),
            Chart("Accuracy by round", "round", "accuracy, mean over devices",
                  results.by_rounds(ACCURACY, shown), level=level),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        counted = self._counted(results)
        spent = partial(_spent, counted)
        points = 100 * (TARGET - CHANCE)
        columns: dict[str, Any] = {
            "arm": Text("swarm that sends {sharing}", arm="swarm"),
            f"seeds that reach {TARGET:.0%}": lambda row: len(spent(row).dropna()),
            "joules": Mean(spent, 1),
            "joules a point": Mean(lambda row: spent(row) / points, 2),
            "of these by radio": Mean(
                lambda row: 1 - spent(row, Prices(radio=0.0)) / spent(row), 1, 100, "%"
            ),
            "final accuracy": Mean(ACCURACY),
        }
        of_swarm = {
            "times the centre": lambda row: _ratio(counted, row["sharing"]),
            "at best": lambda row: _ends(counted, row["sharing"])[0],
            "at worst": lambda row: _ends(counted, row["sharing"])[1],
        }
        columns |= {name: Only(Mean(each, 0), arm="swarm") for name, each in of_swarm.items()}
        return results.table(self.rows(controls_last=True), columns)

    # --- what was spent ---------------------------------------------------------------------------

    def _counted(self, results: Results) -> Results:
        """The results with the joules up to each record but those of round 0: what has each of the
        three prices, and all ``joules``."""
        if results.curves.empty:
            return replace(results, curves=pd.DataFrame(columns=["seed", ACCURACY, *PARTS]))
        curves = results.curves.query("round > 0")
        flops, central = curves["flops_total"], curves["arm"] == "centralised"
        learning = flops * (DEVICE["fleet.active"] / DEVICE["fleet.flops"])
        # no idle power, so that what is not learning is the radio
        radio = curves["joules_total"] - learning
        sent = curves["seed"].map(self._sent_to_the_server(results))
        parts = {
            "device_flop": learning.mask(central, 0.0),
            "radio": radio.mask(central, sent),
            "server_flop": (flops * SERVER_W / SERVER_FLOPS).where(central, 0.0),
        }
        return replace(results, curves=curves.assign(**parts, joules=sum(parts.values())))

    def _sent_to_the_server(self, results: Results) -> pd.Series[float]:
        """By seed the joules of the radios for all samples, and for the final model on every
        device."""
        runs = results.finals[results.finals["arm"] == "centralised"].set_index("seed")
        samples = NUMBER_BYTES * runs["train_samples"] * (runs["features"] + 1)
        models = NUMBER_BYTES * runs["parameters"] * self.budget.devices
        found: pd.Series[float] = (
            samples * DEVICE["fleet.radio_send"] + models * DEVICE["fleet.radio_receive"]
        )
        return found


def _spent(counted: Results, row: Row, prices: Prices = ESTIMATED) -> pd.Series[float]:
    """By seed the joules until the mean accuracy is :data:`TARGET` for the first time; NaN where it
    never is."""
    records = counted.records(**row)
    there = records[PARTS].where(records[ACCURACY] >= TARGET)
    until = there.groupby(records["seed"]).min()
    return (until * list(prices)).sum(axis=1, skipna=False)


def _ratio(counted: Results, sharing: str, prices: Prices = ESTIMATED) -> Interval:
    """The swarm's joules divided by the centre's, over seeds; NaN unless both reach the target
    under all seeds."""
    swarm = _spent(counted, {"sharing": sharing, "arm": "swarm"}, prices)
    ratio = swarm / _spent(counted, CENTRE, prices)
    return interval(ratio if ratio.notna().all() else [])


def _ends(counted: Results, sharing: str) -> tuple[Interval, Interval]:
    """The ratios under the prices that favour the swarm most, and the centre most."""
    each = itertools.product((1 / WRONG_BY, WRONG_BY), repeat=len(PARTS))
    ratios = [_ratio(counted, sharing, Prices(*prices)) for prices in each]
    return min(ratios, key=lambda one: one.mean), max(ratios, key=lambda one: one.mean)
