"""Checks before the start whether optimiser and protocol go together, whether any device ever takes
part and any message arrives in time, and which settings have no effect.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from swarm.common.errors import ConfigError, counted, of_the
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.data.local_test import asked, public_asked, validation_asked
from swarm.learning.personal.base import Personal
from swarm.simulation.experiment import Experiment
from swarm.simulation.experiment.early_stopping import warn_of_test_samples
from swarm.simulation.metrics.practice import PracticeMetric

LOOKED_AT = 8  # rounds whose links are checked for their speed
# rounds that are searched for an active device; fewer in a swarm of more than 1,000 devices
MOST_ASKED = 10_000
MOST_PATIENCE = 1000  # the largest network.max_delay


def require_plain_steps(e: Experiment) -> None:
    """Raises :class:`ConfigError` for an optimiser whose steps are not γ · ∇ under a protocol that
    divides steps by γ to get the gradients.
    """
    if not e.communication.protocol.requirements.plain_sgd or e.model.optimizer.plain:
        return
    name, s = choice("protocol", e.settings.protocol), e.settings.optimizer
    for key, value in e.model.optimizer.beyond_plain.items():
        valid = f"must be 0 with {name}, which reads gradients off the local steps"
        raise ConfigError(f"optimizer.{key}", value, valid)
    valid = f"must be sgd with {name}, which reads gradients off the local steps"
    raise ConfigError("optimizer", choice("optimizer", s), valid)


def require_a_network_that_works(experiment: Experiment) -> None:
    """Raises :class:`ConfigError` for settings that leave nothing to simulate: no device is ever
    active, or all messages come too late.
    """
    _require_somebody(experiment)
    _require_punctuality(experiment)


def _require_somebody(e: Experiment) -> None:
    """Refuse a run in which no device is ever active. A long run is searched only in its first
    rounds; if no device is active in them, it is warned about.
    """
    s = e.settings
    looked_at = min(s.rounds, MOST_ASKED, max(LOOKED_AT, MOST_ASKED * 1000 // s.devices))
    if not s.rounds or any(
        (there := e.communication.network.active(r)) is None or there.any()
        for r in range(1, looked_at + 1)
    ):
        return
    group = "clock" if e.communication.network.churn is None else "churn"
    name, what = (
        choice(group, getattr(s, group)),
        "wakes nobody" if group == "clock" else "leaves nobody to learn or send",
    )
    if looked_at < s.rounds:
        warnings.warn(
            f"{group}={name}: {what} in the first {looked_at:,} of"
            f" {counted(s.rounds, 'round')}, and later"
            " ones were not looked at",
            stacklevel=3,
        )
        return
    span = f"{of_the(s.rounds, 'round', 'any')} of {s.network.round_seconds:g} virtual seconds"
    raise ConfigError(group, name, f"{what} in {span}; somebody must, or take more rounds")


def _require_punctuality(e: Experiment) -> None:
    """Refuse a network in whose first rounds even the quickest message comes too late."""
    network, tick = e.communication.network, e.settings.network.round_seconds
    if network.ideal or not any(phase.packets for phase in e.communication.phases):
        return
    rounds = range(1, min(e.communication.topology.period or LOOKED_AT, LOOKED_AT) + 1)
    quickest = min(network.quickest(e.communication.messages.graph(round)) for round in rounds)
    if quickest == math.inf or quickest / tick < network.max_delay + 1:
        return
    ticks = math.floor(quickest / tick)
    more, count = f"network.max_delay={ticks}, ", f"{ticks:,}"
    if ticks > MOST_PATIENCE:
        more, count = "", f"{ticks:.3g}"
    slow = e.settings.delay
    quicker = (
        "faster lines of the fleet"
        if network.delay is None
        else f"a shorter delay={choice('delay', slow)}"
    )
    would = f"{more}a longer network.round_seconds or {quicker} would do"
    valid = f"the quickest takes {quickest:.3g} virtual seconds, {count} ticks; {would}"
    raise ConfigError("network.max_delay", network.max_delay, f"gives up every message: {valid}")


def warn_of_unused_validation(settings: Settings, used: bool) -> None:
    """Warn of validation samples of devices' own that no arm has a use for."""
    if not used:
        warnings.warn(
            f"data.local_validation={validation_asked(settings.data):g}: no protocol, rule or"
            " goal of this run measures models on the samples that it takes from the devices;"
            " protocol=best_neighbour, aggregator=reputation and goal=weakest do",
            stacklevel=3,
        )


def warn_of_uncounted_practice(e: Experiment) -> None:
    """Warn of metrics of what devices practise where nobody counts it, and of a goal that no sample
    follows."""
    goal, batch = e.data.goal, e.settings.train.batch
    if goal is None and any(isinstance(m, PracticeMetric) for m in e.metrics.rows):
        warnings.warn(
            "metrics: what devices practise is counted where they have goals only, and goal=none;"
            " goal=random goal.strength=0 has the same bits and counts it",
            stacklevel=3,
        )
    practice = e.data.practice
    if goal is not None and goal.strength and practice is not None and not practice.chosen:
        warnings.warn(
            f"goal.strength={goal.strength:g}: no sample of a mini-batch of {batch} follows the"
            f" goal; {0.5 / batch:.3g} or more would do",
            stacklevel=3,
        )


def warn_of_unused_public_samples(settings: Settings, used: bool) -> None:
    """Warn of shared samples that no arm has a use for."""
    if not used:
        warnings.warn(
            f"data.public={public_asked(settings.data):g}: no protocol of this run exchanges"
            " predictions for the samples that it takes from the devices; protocol=fedmd does",
            stacklevel=3,
        )


def warn_of_an_uncounted_search() -> None:
    """Warn of a rate that is chosen by what was learnt from protected data."""
    warnings.warn(
        "optimizer.lr=auto: the rate is chosen by what several rates make of the protected data,"
        " which ε does not count; give a rate",
        stacklevel=3,
    )


def warn_of_what_does_nothing(e: Experiment) -> None:
    """Warn of settings that have no effect in this run, though they might in a longer one."""
    s, end = e.settings, e.settings.rounds * e.settings.network.round_seconds
    for group, part in (
        ("churn", e.communication.network.churn),
        ("outage", e.communication.network.outage),
    ):
        if part is not None and s.rounds and part.announced >= end:
            name = f"{group}={choice(group, getattr(s, group))}"
            warnings.warn(
                f"{name}: what comes at {part.announced:g} virtual seconds is not seen, as the run"
                f" ends at {end:g}; more rounds would show it",
                stacklevel=2,
            )
    window = e.communication.topology.possible.window
    if (
        window is not None
        and window != s.network.round_seconds
        and not (e.communication.network.ideal and e.communication.fleet.hardware is None)
    ):
        warnings.warn(
            f"topology.window={window:g}: links change every {window:g} seconds, but a round is a"
            f" network.round_seconds of {s.network.round_seconds:g} virtual seconds for everything"
            " else; make them equal",
            stacklevel=2,
        )
    _warn_of_short_delays(e)
    _warn_of_cohorts(s)
    for warn in (warn_of_test_samples, _warn_of_draws, _warn_of_unmeasured_models):
        warn(e)
    _warn_of_a_strong_pull(e)
    _warn_of_the_deadline(e)
    # pooled streams would repeat the warnings of the swarm's
    if e.communication.learns and e.data.split.place is None:
        _warn_of_no_lesson(e)
        share = asked(s.data)[0]
        if share not in ("auto", 0) and s.evaluate.accuracy and not e.metrics.local:
            warnings.warn(
                f"data.local_test={share:g}: nothing is measured on the samples that it takes from"
                " the devices; metrics=[standard] and evaluate.local=true would do",
                stacklevel=2,
            )
        if e.data.policy.streams:
            _warn_of_short_streams(e)


def _warn_of_short_delays(e: Experiment) -> None:
    s, delay = e.settings, e.communication.network.delay
    if delay is not None and delay.longest < s.network.round_seconds:
        warnings.warn(
            f"delay={choice('delay', s.delay)}: no message is delayed, as none takes a whole tick;"
            f" a network.round_seconds of at most {delay.longest:g} virtual seconds would show it",
            stacklevel=3,
        )


def _warn_of_cohorts(s: Settings) -> None:
    """Warn of cohorts without a device, and of those without a model of their own."""
    for name, cohort in s.cohorts.items():
        if cohort.devices in (0, []):
            warnings.warn(f"cohorts.{name}: no device has this model", stacklevel=3)
        if cohort.model == s.model:
            text = f"cohorts.{name}.model: this is the run's own model; another key of it would do"
            warnings.warn(text, stacklevel=3)


def _warn_of_draws(e: Experiment) -> None:
    """Warn of shared samples that are drawn anew in every round, where a draw is all of them."""
    found, public = e.communication.protocol.distillation, e.data.dataset.public
    if found is None or public is None:
        return
    if found.draw == "every_round" and not found.redraws(len(public)):
        warnings.warn(
            f"protocol.draw=every_round: every message is about all {len(public)} shared samples,"
            " so that none are drawn; fewer protocol.samples would do",
            stacklevel=3,
        )


def _warn_of_unmeasured_models(e: Experiment) -> None:
    """Warn of models of the devices' own that no metric looks at."""
    if type(e.model.personal).model is Personal.model or e.metrics.local:
        return
    name = f"personal={choice('personal', e.settings.personal)}"
    warnings.warn(
        f"{name}: the devices' own models are measured on samples of their own only, and nobody has"
        " any; data.local_test=0.2 would do",
        stacklevel=3,
    )


def _warn_of_a_strong_pull(e: Experiment) -> None:
    """Warn of models that are drawn so strongly that steps jump beyond where they are drawn to, and
    ever farther."""
    proximal, rate = e.model.personal.proximal, _largest_rate(e)
    if not e.model.optimizer.plain or proximal * rate < 2:
        return
    name = f"personal={choice('personal', e.settings.personal)}"
    warnings.warn(
        f"{name}: strength={proximal:g} times the largest learning rate {rate:g} must be below 2,"
        f" as steps diverge otherwise; a strength of less than {2 / rate:.3g} would do",
        stacklevel=3,
    )


def _warn_of_the_deadline(e: Experiment) -> None:
    """Warn of a deadline that leaves some devices no time to learn, and of one that cuts
    nothing."""
    if e.deadline is None:
        return
    seconds, idle_N = e.deadline.seconds, e.data.usual_steps_N == 0
    stragglers = e.communication.fleet.stragglers
    if idle_N.any():
        kinds = {e.communication.fleet.kind(int(device)) for device in np.flatnonzero(idle_N)}
        named_kinds = ", ".join(sorted(kind for kind in kinds if kind is not None))
        who = f" ({named_kinds})" if named_kinds else ""
        warnings.warn(
            f"train.deadline={seconds:g}: {idle_N.sum()} of"
            f" {counted(len(idle_N), 'device')}{who} have no time"
            " for a single local step and never learn, they only mix; train.deadline="
            f"{e.deadline.needed()[idle_N].max():.3g} or train.least_steps=1 would do",
            stacklevel=3,
        )
    batch_N = e.data.stream.batch_N
    whole = batch_N is None or (batch_N == e.settings.train.batch).all()
    if whole and not stragglers and (e.data.usual_steps_N == e.data.local_steps_N).all():
        warnings.warn(
            f"train.deadline={seconds:g}: nothing is cut, as every device has time for all its"
            " local steps; a shorter one, or more train.local_steps, would show it",
            stacklevel=3,
        )


def _largest_rate(e: Experiment) -> float:
    """The largest learning rate of any device; of many rounds, a thousand are looked at."""
    rounds = max(1, e.settings.rounds)
    round = max(range(1, rounds + 1, -(-rounds // 1000)), key=e.model.rate)
    rates_N = e.model.rates(round)
    return e.model.rate(round) if rates_N is None else float(rates_N.max())


def _warn_of_no_lesson(e: Experiment) -> None:
    """Warn of an update policy, a replay memory, labels or drift that have no effect."""
    s, data, longest = e.settings, e.data.dataset, int(e.data.stream.sizes_N.max())
    policy, update = e.data.policy, f"update={choice('update', s.update)}"
    if s.rounds and not policy.only_predicts and not policy.learns(s.rounds):
        warnings.warn(f"rounds={s.rounds}: {update} {policy.why_idle}", stacklevel=3)
    if e.data.replay.size >= longest:
        warnings.warn(
            f"replay.size={e.data.replay.size}: nothing is ever forgotten, as the longest stream"
            f" has {counted(longest, 'sample')}",
            stacklevel=3,
        )
    if data.observed_labels is not None and (data.observed_labels[e.data.split.sample] < 0).all():
        warnings.warn(
            "labels: no device is told any label, so nothing is learnt; more labels.chance or"
            " labels.budget would do",
            stacklevel=3,
        )
    if data.concept is not None and not policy.streams:
        warnings.warn(
            f"{update}: these data drift, and devices have all of them at hand from the start;"
            " update=online meets them as they come",
            stacklevel=3,
        )


def _warn_of_short_streams(e: Experiment) -> None:
    """Warn of devices without a single full mini-batch, and of streams that end before the run
    does.
    """
    whole_N = e.data.stream.sizes_N // e.data.stream.batch
    idle = int((whole_N == 0).sum())
    if idle:
        warnings.warn(
            f"train.batch={e.data.stream.batch}: {idle} of"
            f" {counted(len(whole_N), 'device')} have less than"
            " one mini-batch and never learn; smaller mini-batches would do, or more data",
            stacklevel=3,
        )
    last_N = -(-whole_N // e.data.usual_steps_N.clip(1))
    if last_N.max() < e.settings.rounds:
        warnings.warn(
            f"rounds={e.settings.rounds}: the longest stream is over after"
            f" {counted(last_N.max(), 'round')},"
            f" the shortest after {last_N.min()}; nothing new comes then",
            stacklevel=3,
        )
