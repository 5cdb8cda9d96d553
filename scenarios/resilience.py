"""Claim 6: no centre is needed. A share of the devices is killed, or the best connected one."""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from scenarios import CONTROLS, arms
from swarm.common.statistics import Bound, Interval
from swarm.experiments.claims.base import Claim, Condition, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import Mean, Only, Results, Row, Text

ACCURACY = "accuracy_mean"
NOBODY, HUB = "nobody", "hub"
ENOUGH = 0.9
GOSSIP, STAR = ("small_world", "exponential"), "star"
# A star with Metropolis weights hardly mixes (its spectral gap is 1/n). With uniform weights the
# hub has the mean of all, as a server would, so that killing it breaks something that worked.
NETWORKS: dict[str, dict[str, Any]] = {
    **{name: {"topology": name, "mixing": "auto"} for name in GOSSIP},
    STAR: {"topology": STAR, "mixing": "uniform"},
}


class ResilienceBudget(SizedBudget):
    """``killed`` are the shares of devices killed at once after a third of the ``rounds``; 0 and
    the hub are always tried.
    """

    killed: list[float]


class Resilience(Claim):
    """The same swarm over two gossip networks and over a star: unharmed, with a share of its
    devices killed for good, and with the one device killed that has the most links. The killed
    devices are drawn from the seed and are the same in every network. The accuracy is that of the
    survivors on the whole test set, so classes that only killed devices had count as well."""

    hypotheses: ClassVar = (
        Hypothesis(
            6,
            "No centre is needed: gossip degrades smoothly where a star collapses.",
            "final accuracy, mean over survivors, as a share of the same network's unharmed"
            " accuracy, paired by seed",
            f"confirmed if both gossip networks keep above {ENOUGH:.0%} at every share of killed"
            " devices and without the best connected one, and the star without its hub keeps less"
            f" than {ENOUGH:.0%}, all with their 95% intervals; refuted if one of these is on the"
            " other side with its interval",
        ),
    )
    untested = (
        '"smoothly": what is judged is that 90% is kept. The star has no server that comes back; '
        "where devices are killed at random, its hub is among them under some seeds and not under "
        "others, so a mean of both says little. In exponential all degrees are equal, and its "
        '"hub" is a device like any other.'
    )
    Budget = ResilienceBudget

    def conditions(self) -> list[Condition]:
        """Each network with each loss; the controls run with the first network, unharmed."""
        b = self.budget
        alike = len({f"{share:.0%}" for share in b.killed}) < len(b.killed)
        self.require(not alike, "killed", "must be shares that differ by a percent or more")
        at = {"churn": "crash", "churn.at": float(b.rounds // 3)}
        losses: dict[str, dict[str, Any]] = {NOBODY: {"churn": "none"}}
        losses |= {f"{share:.0%}": {**at, "churn.fraction": share} for share in b.killed}
        losses[HUB] = {**at, "churn.hub": True}
        return [
            Condition.of({"network": network, "killed": killed}, b.size(20), changes, loss,
                         arms=arms((network, killed) == (GOSSIP[0], NOBODY)))
            for network, changes in NETWORKS.items()
            for killed, loss in losses.items()
        ]  # fmt: skip

    def conclude(self, results: Results) -> list[Verdict]:
        gossip = {
            (n, k): self._kept(results, n, k) for n in GOSSIP for k in self._losses if k != NOBODY
        }
        star = self._kept(results, STAR, HUB)
        (network, killed), worst = min(gossip.items(), key=lambda item: item[1].mean)
        because = (
            f"gossip keeps at least {worst.text(1, 100, '%')} of its accuracy (worst case:"
            f" {network}, killed: {killed}); the star without its hub keeps"
            f" {star.text(1, 100, '%')}"
        )
        bounds = {
            f"{network}, {killed}": Bound(kept, above=ENOUGH)
            for (network, killed), kept in gossip.items()
        }
        bounds["star, hub"] = Bound(star, below=ENOUGH)
        return [self.hypotheses[0].judged(bounds, because)]

    def charts(self, results: Results) -> list[Chart]:
        kept = [self._line(results, network) for network in NETWORKS]
        lines = {
            f"{network}, killed: {HUB}": {"network": network, "killed": HUB, "arm": "swarm"}
            for network in NETWORKS
        }
        lines |= {arm: {"network": GOSSIP[0], "killed": NOBODY, "arm": arm} for arm in CONTROLS}
        moment = (float(self.budget.rounds // 3), "the hub is killed")
        return [
            Chart("What the survivors keep", "share of devices killed",
                  "share of the unharmed accuracy", kept, level=(ENOUGH, f"{ENOUGH:.0%}")),
            Chart("Without the best connected device", "round", "accuracy, mean over survivors",
                  results.by_rounds(ACCURACY, lines), at=moment),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        def kept(row: Row) -> Interval | None:
            unharmed = row["killed"] == NOBODY
            return None if unharmed else self._kept(results, row["network"], row["killed"])

        columns = {
            "network": Text("{network}", arm="swarm"),
            "killed": "killed",
            "accuracy": Mean(ACCURACY),
            "worst decile": Only(Mean("accuracy_p10"), arm="swarm"),
            "kept": Mean(kept, 1, 100, "%"),
            "mean model": Only(Mean("consensus_accuracy"), arm="swarm"),
        }
        return results.table(self.rows(controls_last=True), columns)

    @property
    def _losses(self) -> list[str]:
        return [NOBODY, *(f"{share:.0%}" for share in self.budget.killed), HUB]

    def _kept(self, results: Results, network: str, killed: str) -> Interval:
        after = {"network": network, "killed": killed, "arm": "swarm"}
        return results.ratio(ACCURACY, after, {**after, "killed": NOBODY})

    def _line(self, results: Results, network: str) -> Line:
        killed = self.budget.killed
        kept = [self._kept(results, network, f"{share:.0%}") for share in killed]
        return Line.through(network, killed, kept, "points")
