"""Measures how fast averaging contracts random rows, without learning, and compares the fitted rate
with ρ, the theory's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from swarm.common.errors import ConfigError
from swarm.communication.mixing import observed_rate, periodic_rate, weights
from swarm.communication.protocol.base import Protocol
from swarm.communication.topology.base import WHOLE, Topology, check_period, graph_of
from swarm.config.build import build, option
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.experiments.runs.describe import LOOKED_AT
from swarm.experiments.runs.scenario import Arm, Scenario
from swarm.results.load import Run
from swarm.results.presentation import ArmStyle, SummaryEntry
from swarm.results.track.units import human_score

START, END = 1e-4, 1e-10  # of the starting distance: the window in which the rate is fitted
ROUNDING = 1e-13  # of it: below this a distance is all rounding
MOST_ROUNDS = 20_000
"""The most rounds that ``scenario.rounds=auto`` takes."""
MOST_DEVICES = 5_000
"""The most devices whose ρ is computed beforehand; more of them take the rounds of ``rounds``."""


class Consensus(Scenario):
    """One arm, ``gossip``: X⁺ = WX in float64 from independent random rows, or another protocol
    that does not learn.

    The distance to consensus falls as ρᵗ (Xiao & Boyd 2004). The rate is fitted as a line through
    log distance against rounds, between 1e-4 and 1e-10 of the starting distance: there the faster
    modes have died out and rounding does not show yet; where ρ is so small that fewer than three
    rounds lie there, down to 1e-13. If ρ is 0, the devices hold one value after a known number of
    rounds, the period of the topology: the rate is 0 if they do. If the topology never repeats, ρ
    is estimated from the first rounds, and the rate itself is a random number.

    ``mean_drift`` is the distance of the devices' mean from the starting mean. It stays zero if the
    columns of W sum to one too, which they do not if directed messages are lost and receivers keep
    the weight.

    Args:
        rounds: ``auto`` for as many as the distance takes to fall through that window, at the rate
            ρ, and at most ``MOST_ROUNDS``; None for those of the key ``rounds``.
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

    def __init__(self, rounds: Literal["auto"] | None = None) -> None:
        if rounds not in ("auto", None):
            valid = "must be auto, or null for as many as the key rounds says"
            raise ConfigError("rounds", rounds, valid)
        self.rounds = rounds

    def decided(self, settings: Settings) -> Settings:
        """``settings`` with the rounds that ``auto`` stands for, if it is that."""
        if self.rounds is None:
            return settings
        changes: dict[str, Any] = {"scenario": {**settings.scenario, "rounds": None}}
        if settings.devices <= MOST_DEVICES:
            changes["rounds"] = enough_rounds(_rho(settings), _slower(settings))
        return settings.model_copy(update=changes)

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
        share = exact = None
        losses = _losses(run.config)
        if "consensus_distance" in records:
            distance_T = records["consensus_distance"].to_numpy(dtype=np.float64)
            rate, reason = fitted_rate(distance_T)
            if rate is None and rho == 0 and not losses:
                exact = rounds_to_one_value(distance_T)
                rate, reason = (rate, reason) if exact is None else (0.0, None)
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
            "rounds_to_one_value": exact,
            "rho": rho,
            "mean_drift_share": share,
        }
        notes = [] if estimated is None else [f"estimated from {estimated} rounds"]
        if losses:
            notes.append(f"lossless: here {' and '.join(losses)}")
            found["rho_lossless"] = True
        if notes:
            found["rho_note"] = "; ".join(notes)
        return {**found, "headline": _headline(found)}


def _headline(found: Mapping[str, Any]) -> str:
    """One sentence on the measured contraction beside ρ."""
    note = f", {found['rho_note']}" if "rho_note" in found else ""
    kind = "lossless theory" if "rho_lossless" in found else "theory"
    note = note.replace("lossless: here ", "while ")
    theory = f"{kind} (ρ{note}) {human_score(found['rho'], 6)}"
    drift = found["mean_drift_share"] or 0.0
    if drift > 1e-9:  # more than rounding
        theory += f"; the mean drifted by {drift:.2g} of the starting distance"
    if (exact := found["rounds_to_one_value"]) is not None:
        after = f"{exact} round{'s'[: exact > 1]}"
        return f"All devices hold one value after {after}, up to rounding; {theory}."
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
    windows = [np.flatnonzero((share < START) & (share > end)) for end in (END, ROUNDING)]
    inside = next((window for window in windows if len(window) >= 3), None)
    if inside is None:
        if share[-1] >= START:
            return (
                None,
                (
                    f"after {len(share) - 1:,} rounds{_limit(len(share) - 1)} the distance is still"
                    f" {share[-1]:.1e} of its start; give it more rounds"
                ),
            )
        return None, "the distance falls through the whole window in fewer than 3 rounds"
    return float(np.exp(np.polyfit(inside, np.log(distance_T[inside]), 1)[0])), None


def rounds_to_one_value(distance_T: np.ndarray[Any, np.dtype[np.float64]]) -> int | None:
    """The rounds after which the distance is no more than rounding; None if it never is, or was
    from the start."""
    reached = np.flatnonzero(distance_T < ROUNDING * distance_T[0])
    return int(reached[0]) if len(reached) else None


def _limit(rounds: int) -> str:
    return ", the most that scenario.rounds=auto takes," if rounds == MOST_ROUNDS else ""


def enough_rounds(rho: float, slower: float = 1.0) -> int:
    """The rounds after which a distance that falls by ``rho`` a round has passed through the window
    of the fit: between 20 and ``MOST_ROUNDS``. ``slower`` times as many where messages are lost.

    A graph in pieces (ρ = 1), whose distance never falls, gets 100.
    """
    if rho > 1 - 1e-12:
        return 100
    if math.isnan(rho):
        return MOST_ROUNDS
    needed = math.log(END) / math.log(rho) if rho > 0 else 0.0
    return min(MOST_ROUNDS, 20 + math.ceil(slower * needed))


def _rho(settings: Settings) -> float:
    """ρ of the topology's mixing weights if every message arrives, as the summary states it."""
    s = settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself builds the topology again, and warns
        topology: Topology = build(
            s.topology, Topology, "topology", s.plugins,
            devices=s.devices, seed=s.seed, owner_names=None,
        )  # fmt: skip
        check_period(topology)
        period = topology.period
        whole = period is not None and period <= WHOLE
        rounds = range(1, (period if whole and period else LOOKED_AT) + 1)
        graphs = (graph_of(topology, topology.phase(round), s.devices) for round in rounds)
        mixings = [weights(graph, s.mixing) for graph in graphs]
        return periodic_rate(mixings).per_round if whole else observed_rate(mixings)


def _slower(settings: Settings) -> float:
    """How many times as many rounds lost, late and compressed messages may take: a guess, as no
    theory says it for all of them."""
    arriving = 1 - settings.network.drop
    lossy = len(_losses(settings.model_dump())) > (settings.network.drop > 0)
    return (2.0 if lossy else 1.0) / max(arriving, 0.05)


_LOSSES = {
    "delay": "messages are late",
    "compressor": "messages are compressed",
    "churn": "devices are away",
    "outage": "links are down",
    "clock": "devices sleep",
}


def _losses(config: Mapping[str, Any]) -> list[str]:
    """What keeps messages from arriving at once and whole, which the theory does not know of."""
    network = config.get("network") or {}
    found = ["messages are lost"] if network.get("drop") else []
    for group, what in _LOSSES.items():
        section = config.get(group)
        if isinstance(section, Mapping) and choice(group, dict(section)) != "none":
            found.append(what)
    if config.get("attack", {}).get("devices"):
        found = [*found, "devices are hostile"]
    return [*found, *(["messages are changed on their way"] if config.get("transforms") else [])]
