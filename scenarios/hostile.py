"""Claim 23: robust gossip bears hostile devices. A share of the devices attacks the others."""

from __future__ import annotations

from functools import cache
from itertools import product, takewhile
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from scenarios import CONTROLS, arms
from swarm.common.ranges import share_of
from swarm.common.statistics import Cases, Interval, bonferroni, interval
from swarm.communication.aggregation.base import Aggregator
from swarm.communication.aggregation.beyond import share_beyond
from swarm.communication.topology.base import Topology, graph_of
from swarm.communication.topology.graph import Graph
from swarm.config.build import build, chosen
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Figure, Mean, Only, Results, Text
from swarm.experiments.claims.shared.derived import counting_diverged

ACCURACY = "accuracy_mean"
ENOUGH, JUDGED = 0.9, 0.2
GRAPHS: dict[str, dict[str, Any]] = {
    "random_regular": {"topology": "random_regular", "topology.degree": 10},
    "small_world": {"topology": "small_world", "topology.k": 6},
}
FIRST = "random_regular"
# ALIE's own z is near 0, which is no attack, where few devices are hostile.
ATTACKS: dict[str, dict[str, Any]] = {
    "sign_flip": {"attack": "sign_flip"},
    "alie": {"attack": "alie", "attack.z": 1.5},
    "inner_product": {"attack": "inner_product"},
    "dissensus": {"attack": "dissensus"},
}
NOBODY, ABSENT = "none", "absent"
# Rules that are told a number assume ⌊0.4 n⌋ hostile rows: 4 of 11, 2 of 7. With unsafe=warn the
# placements in which a device has more hostile neighbours than that are run as well; to refuse them
# would leave out the hardest seeds.
_ASSUMED = {"aggregator.f": 0.4, "aggregator.unsafe": "warn"}
MEAN = "mean"
ROBUST: dict[str, dict[str, Any]] = {
    "coordinate_median": {"aggregator": "coordinate_median", "aggregator.unsafe": "warn"},
    "trimmed_mean": {"aggregator": "trimmed_mean", **_ASSUMED},
    "nnm_trimmed_mean": {"aggregator": "trimmed_mean", **_ASSUMED, "pre_aggregators": ["nnm"]},
    "clipped_gossip": {"aggregator": "clipped_gossip", "aggregator.radius": "auto", **_ASSUMED},
    "reputation": {"aggregator": "reputation"},
}
RULES, ALONE = {MEAN: {"aggregator": "mean"}, **ROBUST}, ("clipped_gossip", "trimmed_mean")
# Rows that are no numbers are left out, and a radius that no difference reaches clips nothing: the
# weighted mean of the honest rows.
_LEFT_OUT = {
    "attack": "not_a_number",
    "aggregator": "clipped_gossip",
    "aggregator.radius": 1e9,
    "aggregator.unsafe": "warn",
}
UNATTACKED = {(NOBODY, rule): {"attack": "none", **how} for rule, how in RULES.items()}
ATTACKED = {(NOBODY, MEAN): UNATTACKED[NOBODY, MEAN], (ABSENT, MEAN): _LEFT_OUT}
ATTACKED |= {(a, rule): {**ATTACKS[a], **RULES[rule]} for a, rule in product(ATTACKS, RULES)}
CASES = len(GRAPHS) * len(ATTACKS)
OF_RULES, OF_CASES = bonferroni(len(ROBUST)), bonferroni(CASES)
_METRIC = (
    "final accuracy, mean over honest devices, as a share of that of the same devices in the same"
    " swarm with the mean and without an attack, paired by seed; in each of"
    f" {CASES} cases, {len(ATTACKS)} attacks on {len(GRAPHS)} graphs"
)
_KEEPS = f"at {JUDGED:.0%} hostile devices it keeps above {ENOUGH:.0%} in every case"
_FAILS = (
    f"keeps less than {ENOUGH:.0%} in a case with the whole {OF_CASES:.1%} interval (95% over"
    f" {CASES} cases); a run that diverged keeps nothing"
)
_RULE = f"confirmed if {_KEEPS} with its 95% interval; refuted if it {_FAILS}"


class HostileBudget(SizedBudget):
    """``hostile`` are the shares of devices that are hostile; 0 is always tried."""

    hostile: list[float]


class Hostile(Claim):
    """The same swarm on two graphs with a share of its devices hostile, drawn from the seed, under
    four attacks and six aggregation rules. The accuracy is that of the honest devices on the whole
    test set. It is compared with the unattacked mean, so that what a rule costs by itself counts as
    lost. What hostile devices would have taught counts as lost as well; the rows *absent* show how
    much that is: the mean of all honest rows, as if the hostile devices were known.

    A rule is told to assume two fifths of its rows, however many are hostile. "Beyond" is the
    theory: the share of honest devices that have more hostile neighbours than their rule bears,
    expected over random placements on the graphs of the runs."""

    hypotheses: ClassVar = (
        Hypothesis(
            23,
            f"Robust gossip keeps {ENOUGH:.0%} of its accuracy with {JUDGED:.0%} hostile devices.",
            f"{_METRIC}; for each of {len(ROBUST)} robust rules",
            f"confirmed if there is a rule of which the following holds: {_KEEPS} with its"
            f" {OF_RULES:.0%} interval (95% over {len(ROBUST)} rules); refuted if every rule"
            f" {_FAILS}",
        ),
        Hypothesis(
            23,
            f"ClippedGossip keeps {ENOUGH:.0%} of the accuracy with {JUDGED:.0%} hostile devices.",
            f"{_METRIC}; with the adaptive radius",
            _RULE,
        ),
        Hypothesis(
            23,
            f"The trimmed mean keeps {ENOUGH:.0%} of the accuracy with {JUDGED:.0%} hostile"
            " devices.",
            _METRIC,
            _RULE,
        ),
    )
    diverged = "These diverged, and have kept nothing"
    untested = (
        "Hostile devices that sit at the hubs or on a cut; attacks tuned to a rule, and other "
        "strengths than one of each; labels that are equally dealt, on which rules cost less; "
        "rules whose f is the true number, as f is 0.4 of the rows whatever the share of hostile "
        'devices. "Beyond" counts neighbours, and says nothing of what devices within the bound '
        "lose to the attack, nor of what one that is beyond it passes on. Under dissensus one "
        "honest device beyond its bound is driven away exponentially, and once its numbers are no "
        "longer finite its whole arm has diverged and has kept nothing, as good as the others may "
        "be. Such shares are 0 under some seeds and 0.9 under others, and their intervals wide."
    )
    Budget = HostileBudget

    def conditions(self) -> list[Condition]:
        """Each graph with each rule unattacked and under each attack at each share; the controls
        run with the first graph, unattacked."""
        b = self.budget
        apart = len({f"{share:.0%}" for share in b.hostile}) == len(b.hostile)
        valid = f"must be shares that differ by a percent or more, {JUDGED} among them"
        self.require(apart and JUDGED in b.hostile, "hostile", valid)
        return [
            Condition.of(
                {"graph": graph, "hostile": f"{share:.0%}", "attack": attack, "rule": rule},
                b.size(), network, {"attack.devices": share}, how,
                arms=arms((graph, share, rule) == (FIRST, 0.0, MEAN)))
            for graph, network in GRAPHS.items()
            for share in (0.0, *b.hostile)
            for (attack, rule), how in (ATTACKED if share else UNATTACKED).items()
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        cases = {rule: _cases(results, rule) for rule in RULES}
        worst = {rule: each.worst for rule, each in cases.items()}
        best = max(ROBUST, key=lambda rule: worst[rule][1].mean)
        each = {rule: cases[rule].holds(OF_RULES) for rule in ROBUST}
        some = True if True in each.values() else None if None in each.values() else False
        left = [rule for rule in ROBUST if each[rule] is None]
        # of several rules each has to be decided; what the last one takes follows from its cases
        last = cases[left[0]].bounds if len(left) == 1 else {}
        missing = "" if last else f"as many seeds as decide {', '.join(left)}"
        text = (
            f"{best} keeps most in its worst case, {self._said(results, best, worst[best])}; the"
            f" mean keeps {worst[MEAN][1].text(1, 100, '%')} in its worst case"
        )
        of_last = {f"{left[0]}, {case}": bound for case, bound in last.items()}
        found = [self.hypotheses[0].verdict(some, text, of_last, missing, worst=worst)]
        for hypothesis, rule in zip(self.hypotheses[1:], ALONE, strict=True):
            because = f"in its worst case it keeps {self._said(results, rule, worst[rule])}"
            found.append(hypothesis.verdict(cases[rule].holds(), because, cases[rule].bounds))
        return found

    def charts(self, results: Results) -> list[Chart]:
        lines = {rule: {"rule": rule, "arm": "swarm"} for rule in RULES}
        judged = {"graph": FIRST, "hostile": f"{JUDGED:.0%}", "attack": "dissensus"}
        return [
            *(
                Chart(f"What honest devices keep under the worst attack for each rule: {graph}",
                      "share of hostile devices", "share of the unattacked mean's accuracy",
                      [*(self._line(results, graph, rule) for rule in (*RULES, ABSENT)),
                       self._theory(graph)],
                      level=(ENOUGH, f"{ENOUGH:.0%}"))
                for graph in GRAPHS
            ),
            Chart(f"{JUDGED:.0%} of the devices undo gossip (dissensus); runs until they diverge",
                  "round", "accuracy, mean over honest devices",
                  results.by_rounds(ACCURACY, lines, **judged)),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        rows = [
            {"graph": graph, "rule": rule, "share": share}
            for graph in GRAPHS
            for rule in (*RULES, ABSENT)
            for share in self._tried(rule)
        ]

        def kept(attack: str) -> Figure:
            return Figure(lambda row: interval(_kept(results, attack, **row)).mean, ".1%")

        attacked = {"share": (*self.budget.hostile,), "rule": (*RULES,)}
        unattacked = Mean(lambda row: results.mean(ACCURACY, **_where(NOBODY, **row)))
        columns = {
            "hostile": Text("{share:.0%}"),
            "worst": Mean(lambda row: _at_worst(results, **row), 1, 100, "%"),
            "accuracy": Only(unattacked, share=0.0),
            "beyond": Only(Figure(lambda row: self._beyond(**row), ".0%"), **attacked),
            **{attack: Only(kept(attack), **attacked) for attack in ATTACKS},
        }
        table = results.table(rows, columns, own=("graph", "rule"))
        arms = [{**_where(NOBODY, FIRST, MEAN, 0.0), "arm": arm} for arm in CONTROLS]
        controls = results.table(arms, {"graph": "arm", "accuracy": Mean(ACCURACY)})
        return pd.concat([table, controls]).fillna("–")

    def _tried(self, rule: str) -> list[float]:
        """The shares of hostile devices that a rule is tried with."""
        return [*([] if rule == ABSENT else [0.0]), *self.budget.hostile]

    def _line(self, results: Results, graph: str, rule: str) -> Line:
        shares = self._tried(rule)
        worst = [_at_worst(results, graph, rule, share) for share in shares]
        return Line.through(rule, shares, worst, "points")

    def _said(self, results: Results, rule: str, worst: tuple[str, Interval]) -> str:
        """The rule's worst case, its own cost, and up to where it keeps enough on each graph."""
        case, kept = worst
        ends = []
        for graph in GRAPHS:
            at = {share: _at_worst(results, graph, rule, share).mean for share in self._tried(rule)}
            good = [share for share, _ in takewhile(lambda one: one[1] > ENOUGH, at.items())]
            until = f"up to {good[-1]:.0%} hostile devices" if good[1:] else "only unattacked"
            ends.append(
                f"on {graph} above {ENOUGH:.0%} is kept {until if good else 'never'}, it costs"
                f" {100 * (1 - at[0.0]):.1f}% unattacked, and at {JUDGED:.0%}"
                f" {self._beyond(graph, rule, JUDGED):.0%} of the devices are beyond what it bears"
            )
        return f"{kept.text(1, 100, '%')} ({case}); {'; '.join(ends)}"

    # --- the theory -------------------------------------------------------------------------------

    def _theory(self, graph: str) -> Line:
        shares = np.linspace(0, max(self.budget.hostile), 21)
        within = [1 - self._beyond(graph, "trimmed_mean", share) for share in shares]
        return Line.law("devices within what ⌊0.4 n⌋ bears", shares, np.array(within))

    def _beyond(self, graph: str, rule: str, share: float) -> float:
        """The share of honest devices with more hostile neighbours than ``rule`` bears."""
        b = self.budget
        aggregator = build(chosen("aggregator", RULES[rule]), Aggregator, "aggregator")
        graphs = _graphs(graph, b.devices, range(b.first_seed, b.first_seed + b.seeds))
        return share_beyond(aggregator, graphs, share_of(share, b.devices) if share else 0)


@cache
def _graphs(graph: str, devices: int, seeds: range) -> list[Graph]:
    node = chosen("topology", GRAPHS[graph])
    context: dict[str, Any] = {"devices": devices, "owner_names": None}
    each = [build(node, Topology, "topology", seed=seed, **context) for seed in seeds]
    return [graph_of(topology, 0, devices) for topology in each]


# --- what is kept ---------------------------------------------------------------------------------


def _where(attack: str, graph: str, rule: str, share: float) -> dict[str, Any]:
    hostile = f"{share:.0%}"
    return {"graph": graph, "hostile": hostile, "attack": attack, "rule": rule, "arm": "swarm"}


def _kept(results: Results, attack: str, graph: str, rule: str, share: float) -> pd.Series[float]:
    """What is kept under each seed; nothing where an arm has diverged."""
    before = results.by_seed(ACCURACY, **_where(NOBODY, graph, MEAN, share))
    counted = counting_diverged(results, accuracy_mean=0.0)
    return counted.by_seed(ACCURACY, **_where(attack, graph, rule, share)) / before


def _cases(results: Results, rule: str) -> Cases:
    """What the rule keeps at the share that is judged."""
    each = product(GRAPHS, ATTACKS)
    kept = {f"{g}, {attack}": _kept(results, attack, g, rule, JUDGED) for g, attack in each}
    return Cases(kept, above=ENOUGH)


def _at_worst(results: Results, graph: str, rule: str, share: float) -> Interval:
    """What is kept under the worst of the attacks."""
    attacks = [*ATTACKS] if share else [NOBODY]
    if rule == ABSENT:
        rule, attacks = MEAN, [ABSENT]
    kept = {attack: _kept(results, attack, graph, rule, share) for attack in attacks}
    return Cases(kept, above=ENOUGH).worst[1]
