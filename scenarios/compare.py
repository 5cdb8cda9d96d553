"""Compares the swarm with three controls: isolated devices, one centralised model, and server-based
federated averaging.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from swarm.common.errors import ConfigError, meant
from swarm.config.build import option
from swarm.config.settings import Settings
from swarm.experiments.runs.scenario import Arm, Scenario
from swarm.results.presentation import ArmStyle
from swarm.results.presentation.gap import gap_entry, gap_facts

if TYPE_CHECKING:
    from swarm.results.load import Run

# The most steps a round of the centralised model; with more samples, its batches grow instead.
MOST_STEPS = 1000
# how the centralised model learns: neither by epochs nor by a deadline
_PLAIN_STEPS = {
    "local_epochs": None,
    "deadline": None,
    "deadline_cuts": "steps",
    "least_steps": 0,
}


class Compare(Scenario):
    """Runs the arms named in ``arms``. The result is the share of the gap between isolated devices
    and the centralised model that the swarm closes, if these three arms are among them; else there
    is no gap to speak of, and none is shown.
    """

    def __init__(self, arms: list[str]) -> None:
        unknown = [name for name in arms if name not in ARMS]
        if unknown or not arms or len(set(arms)) < len(arms):
            hint = meant(unknown[0], ARMS) if unknown else ""
            raise ConfigError(
                "arms", arms, f"must be a list of different arms out of {', '.join(ARMS)}{hint}"
            )
        self.chosen = arms
        if set(arms) >= {"swarm", "isolated", "centralised"}:
            self.entries = (gap_entry("isolated", "centralised"),)

    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        """The chosen arms, each with the run's settings of which a few are replaced."""
        return [ARMS[name](settings, steps_a_round) for name in self.chosen]

    def conclude(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        """The share of the gap that the swarm closes, or why there is none."""
        return gap_facts(summary, "swarm", "isolated", "centralised")


def swarm(settings: Settings, steps: int) -> Arm:
    """The run's own settings."""
    return Arm("swarm", (settings,), style=ArmStyle("lead"))


def isolated(settings: Settings, steps: int) -> Arm:
    """The same devices without a single link; the hostile ones have nobody to attack, and are not
    measured."""
    return Arm(
        "isolated",
        (
            _with(
                settings,
                **_none(
                    "topology", "protocol", "compressor", "delay", "outage", "goal", "personal"
                ),
                **_plain_mixing(),
                attack=_spared(settings),
            ),
        ),
        style=ArmStyle("lower"),
    )


def fedavg(settings: Settings, steps: int) -> Arm:
    """The same devices with a server that averages the models of all active devices every round.

    Messages to and from the server are lost like all others; it waits for those that would be
    late."""
    changes = _none("topology", "compressor", "delay", "outage", "goal")
    return Arm(
        "fedavg",
        (_with(settings, **changes, **_plain_mixing(), protocol=option("protocol", "fedavg")),),
        style=ArmStyle("control", ("#009e73", "#34d3a2"), muted="#5f7f6f", dash="dashdot"),
    )


def centralised(settings: Settings, steps: int) -> Arm:
    """One model on the pooled samples, with exactly as many samples a round as all devices
    together.

    It takes them in many small batches or in few large ones, whichever does better on the
    validation split: a control that loses because of its batch size would flatter the swarm.
    """
    own = settings.train.local_steps or max(1, round(steps / settings.devices))
    counts = sorted({_divisor(steps, MOST_STEPS), _divisor(steps, own)}, reverse=True)
    samples = steps * settings.train.batch
    variants = []
    for count in counts:
        train = settings.train.model_copy(
            update={"local_steps": count, "batch": samples // count, **_PLAIN_STEPS}
        )
        engine = {**settings.engine, "block": "auto"}
        update, replay = dict(settings.update), dict(settings.replay)
        if update.get("steps"):  # the steps of a night of update=nightly
            update["steps"] = max(1, round(update["steps"] * count / own))
        if "size" in replay:
            replay["size"] *= settings.devices
        variants.append(
            _with(
                settings,
                devices=1,
                **_none(
                    "topology",
                    "protocol",
                    "attack",
                    "compressor",
                    "delay",
                    "churn",
                    "outage",
                    "clock",
                    "fleet",
                    "goal",
                    "personal",
                ),
                network=settings.network.model_copy(update={"drop": 0.0}),
                **_plain_mixing(),
                train=train,
                update=update,
                replay=replay,
                engine=engine,
            )
        )
    style = ArmStyle("upper")
    return Arm("centralised", tuple(variants), pooled=True, style=style, differ_in="batch size")


ARMS: dict[str, Callable[[Settings, int], Arm]] = {
    a.__name__: a for a in (swarm, isolated, centralised, fedavg)
}


def _divisor(number: int, most: int) -> int:
    """The largest divisor of ``number`` up to ``most``."""
    return next(d for d in range(min(number, most), 0, -1) if number % d == 0)


def _none(*groups: str) -> dict[str, Any]:
    """The settings with the option ``none`` for each of these groups."""
    return {group: option(group, "none") for group in groups}


def _spared(settings: Settings) -> dict[str, Any]:
    """No attack, and the same devices left out of all metrics."""
    return {**option("attack", "none"), "devices": settings.attack["devices"]}


def _plain_mixing() -> dict[str, Any]:
    """The default weights, rule and changes of messages, for an arm that mixes nothing over
    links."""
    return {
        "mixing": "auto",
        "aggregator": option("aggregator", "mean"),
        "pre_aggregators": [],
        "transforms": [],
    }


def _with(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update=changes)
