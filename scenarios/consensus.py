"""Measures how fast averaging contracts random rows, without learning, and compares the fitted rate
with ρ, the theory's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from swarm.common.errors import ConfigError
from swarm.communication.protocol.base import Protocol
from swarm.config.build import build, choice, option
from swarm.config.settings import Settings
from swarm.experiments.runs.scenario import Arm, Scenario
from swarm.results.load import Run
from swarm.results.presentation import ArmStyle, SummaryEntry
from swarm.results.track.units import human_score


class Consensus(Scenario):
    """One arm, ``gossip``: X⁺ = WX in float64 from independent random rows, or another protocol
    that does not learn.

    The distance to consensus falls as ρᵗ (Xiao & Boyd 2004). The rate is fitted as a line through
    log distance against rounds, between 1e-4 and 1e-10 of the starting distance: there the faster
    modes have died out and rounding does not show yet. If the topology never repeats, ρ is
    estimated from the first rounds, and the rate itself is a random number.

    ``mean_drift`` is the distance of the devices' mean from the starting mean. It stays zero if the
    columns of W sum to one too, which they do not if directed messages are lost and receivers keep
    the weight.
    """

    learns = False
    entries = (
        SummaryEntry(
            "rate_measured",
            "contraction per round",
            better="lower",
            digits=6,
            note="measured",
            shown=("page", "tracker"),
        ),
        SummaryEntry("rho", "ρ", digits=6, note="second-largest |eigenvalue|", shown=("page",)),
    )

    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        compute = settings.compute.model_copy(update={"dtype": "float64"})
        evaluate = settings.evaluate.model_copy(update={"accuracy": False, "every": 1})
        changes = {
            "protocol": _without_learning(settings),
            "init": "independent",
            "compute": compute,
            "evaluate": evaluate,
            "optimizer": {**settings.optimizer, "lr": 1.0},
        }
        arm = Arm("gossip", (settings.model_copy(update=changes),), style=ArmStyle("lead"))
        return [arm]

    def conclude(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        """``rate_measured`` and ``rho``, and the drift of the mean as a share of the starting
        distance. The rate is None, with a reason, if the distance never passes through the window.
        """
        records = run.metrics[run.metrics["arm"] == "gossip"]
        topology = summary["topology"]
        rho, estimated = topology["rho"], topology["estimated_from"]
        rate: float | None = None
        reason: str | None = "consensus_distance is not among the metrics"
        share = None
        if "consensus_distance" in records:
            distance_T = records["consensus_distance"].to_numpy(dtype=np.float64)
            rate, reason = fitted_rate(distance_T)
            # ρ = 1 proves this only if it is no estimate from some rounds
            if rate is None and estimated is None and rho is not None and rho > 1 - 1e-12:
                reason = (
                    "ρ is 1: the graph is in pieces, and however many rounds there are, it never"
                    " comes to one value"
                )
            if distance_T[0] > 0:
                share = float(records["mean_drift"].iloc[-1] / distance_T[0])
        found = {
            "rate_measured": rate,
            "rate_measured_reason": reason,
            "rho": rho,
            "mean_drift_share": share,
        }
        if estimated is not None:
            found["rho_note"] = f"estimated from {estimated} rounds"
        return {**found, "headline": _headline(found)}


def _headline(found: Mapping[str, Any]) -> str:
    """One sentence on the measured contraction beside ρ."""
    note = f", {found['rho_note']}" if "rho_note" in found else ""
    theory = f"theory (ρ{note}) {human_score(found['rho'], 6)}"
    drift = found["mean_drift_share"] or 0.0
    if drift > 1e-9:  # more than rounding
        theory += f"; the mean drifted by {drift:.2g} of the starting distance"
    if found["rate_measured"] is None:
        reason = found["rate_measured_reason"]
        return f"Contraction per round: not measured ({reason}); {theory}."
    return f"Contraction per round: measured {human_score(found['rate_measured'], 6)}, {theory}."


def _without_learning(settings: Settings) -> dict[str, Any]:
    """The chosen protocol, which must not learn; for the default, D-PSGD, plain averaging."""
    usual = option("protocol", "averaging")
    if settings.protocol == option("protocol", "dpsgd"):
        return usual
    if (
        "learn"
        in build(
            settings.protocol, Protocol, "protocol", settings.plugins, seed=settings.seed
        ).phases
    ):
        valid = (
            "learns, which this scenario does not; averaging, push_sum_averaging and choco_gossip"
            " would do"
        )
        raise ConfigError("protocol", choice("protocol", settings.protocol), valid)
    return settings.protocol


def fitted_rate(
    distance_T: np.ndarray[Any, np.dtype[np.float64]],
) -> tuple[float | None, str | None]:
    """The contraction per round: exp of the least-squares slope of log distance over the rounds
    between 1e-4 and 1e-10 of the starting distance. If it cannot be fitted, None and the reason.
    """
    if distance_T[-1] >= distance_T[0]:
        return (
            None,
            "the distance does not fall: the graph is in pieces, or there is nothing to average",
        )
    share = distance_T / distance_T[0]
    inside = np.flatnonzero((share < 1e-4) & (share > 1e-10))
    if len(inside) < 3:
        if share[-1] >= 1e-4:
            return (
                None,
                (
                    f"after {len(share) - 1} rounds the distance is still {share[-1]:.1e} of its"
                    " start; give it more rounds"
                ),
            )
        return None, "the distance falls through the whole window in fewer than 3 rounds"
    return float(np.exp(np.polyfit(inside, np.log(distance_T[inside]), 1)[0])), None
