"""Checks that a mechanism of privacy keeps its promise in an arm: a combination in which it would
not, or in which nobody can count what is spent, is refused.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the key to change.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, Refusals, refuse
from swarm.common.plugin import called
from swarm.config.choices import choice
from swarm.config.explain import shown
from swarm.learning.privacy.accountant import require_library
from swarm.learning.privacy.noise import LeastNoise, Plan, least_noise
from swarm.learning.update.policy import batch_plans_of

if TYPE_CHECKING:
    from swarm.simulation.experiment.experiment import Experiment


def check_privacy(experiment: Experiment) -> None:
    """Check that the privacy of ``experiment`` is what it says.

    Raises :class:`~swarm.common.errors.ConfigError` for the first thing that breaks it."""
    privacy = experiment.data.privacy
    if privacy.unit is None:
        return
    name = choice("privacy", experiment.settings.privacy)
    refused = _of_samples if privacy.unit == "sample" else _of_devices
    for check in (_of_both, refused):
        refuse(check(experiment), f"privacy={name}")
    refuse(privacy.refusals(experiment.arm_facts), f"privacy={name}")
    if (accountant := experiment.accountant) is None:
        return
    require_library(name, accountant.library)
    _warn_of_delta(experiment)
    if privacy.epsilon is not None:
        first_N = accountant.price_N(1)
        if not accountant.poor_N(np.zeros_like(first_N), 1).all():
            return
        one = float(accountant.epsilon_N(first_N).min())
        what = "step" if privacy.unit == "sample" else "round"
        valid = (
            f"is spent by the first {what} of every device, whose ε is {one:.3g} or more with"
            f" privacy.noise_multiplier={privacy.noise_multiplier:g}"
        )
        raise ConfigError("privacy.epsilon", privacy.epsilon, valid)


def planned_steps(e: Experiment) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The steps that each device is going to take in each round, ``[N]``, as far as that is known
    before the start: who is away or not asked takes none. A stream that ends makes them fewer."""
    local_N, c = e.data.local_steps_N, e.communication
    for round in range(1, e.settings.rounds + 1):
        within_N, active = None, c.active(round)
        if e.deadline is not None:
            within_N = e.deadline.of_round(round)
        steps_N = np.zeros_like(local_N)
        for plan in batch_plans_of(e.data.policy, round):
            if plan.learn:
                taken_N = local_N if plan.steps is None else np.full_like(local_N, plan.steps)
                steps_N += taken_N if within_N is None else np.minimum(taken_N, within_N)
        yield round, steps_N if active is None else np.where(active, steps_N, 0)


def found_noise(planned: Experiment) -> LeastNoise:
    """The least noise with which no honest device spends more than its budget by the last round;
    ``planned`` is the arm with more noise than that.

    Raises :class:`~swarm.common.errors.ConfigError` where no noise would do.
    """
    accountant, target = planned.accountant, planned.data.privacy.epsilon
    if accountant is None or target is None:
        valid = "must be a number with this privacy, which counts nothing that could be planned"
        raise ConfigError("privacy.noise_multiplier", "auto", valid)
    plan = Plan.of(accountant, planned_steps(planned))
    try:
        return least_noise(accountant, plan, target, planned.communication.honest_N)
    except ConfigError as error:
        raise error.under("privacy") from None


def _warn_of_delta(e: Experiment) -> None:
    """Warn of a δ with which a mechanism could publish one of the n units as it is."""
    privacy, n = e.data.privacy, e.settings.devices
    units = "devices"
    if privacy.unit == "sample":
        n, units = int(e.data.split.sizes_N.max()), "samples of a device"
    if privacy.delta * n >= 1:
        text = (
            f"privacy.delta={privacy.delta:g}: should be well below 1/{n}, as there are {n} {units}"
        )
        warnings.warn(f"{text}; a larger one allows to publish one of them", stacklevel=2)


def _of_both(e: Experiment) -> Refusals:
    """What breaks the promise at either level: the key, its value, and what would be valid."""
    protocol, s = e.communication.protocol, e.settings
    if sum(phase.learns for phase in e.communication.phases) != 1:
        valid = "must be one that learns once a round with {}: without learning nothing is noised,"
        valid += " and twice it would be the same noise"
        yield "protocol", called(protocol), valid
    valid = "must be one with {} that measures nothing on a device's own samples: what it then"
    valid += " does would tell of them, without noise"
    if protocol.requirements.own_validation:
        yield "protocol", called(protocol), valid
    if e.communication.aggregator.own_validation:
        yield "aggregator", choice("aggregator", s.aggregator), valid
    if s.train.class_weights == "balanced":
        valid = "must be null or a list with {}: the labels of all devices are counted for it"
        yield "train.class_weights", "balanced", valid


def _of_samples(e: Experiment) -> Refusals:
    """What breaks the promise of DP-SGD."""
    s, policy, layout = e.settings, e.data.policy, e.model.layout
    plans = {plan for round in range(1, s.rounds + 1) for plan in batch_plans_of(policy, round)}
    if policy.streams or any(plan.source != "all" for plan in plans):
        valid = "must be epochs with {}: samples that come one after the other, or back from a"
        yield "update", choice("update", s.update), f"{valid} memory, are no Poisson sample"
    if e.data.privacy.rate is not None and e.data.stream.batch_N is not None:
        valid = "must be null with {} and a train.devices that gives mini-batches of their own"
        yield "privacy.rate", e.data.privacy.rate, f"{valid} sizes"
    if e.data.dataset.observed_labels is not None:
        valid = "must be none with {}: a sample would count the more, the fewer of the others have"
        yield "labels", choice("labels", s.labels), f"{valid} a label"
    if layout.statistics:
        valid = "must have no {} with {{}}, which depends on all samples of a mini-batch; GroupNorm"
        kind = f"running statistic such as {layout.statistics[0].name}"
        yield "model", choice("model", s.model), f"{valid.format(kind)} or LayerNorm would do"
    if s.train.clip_norm is not None:
        valid = "must be null with {}, which clips the gradient of each sample"
        yield "train.clip_norm", s.train.clip_norm, valid
    if s.compute.compile:
        valid = "must be false with {}: mini-batches of a random size would be compiled again"
        yield "compute.compile", "true", f"{valid} and again"


def _of_devices(e: Experiment) -> Refusals:
    """What breaks the promise at the level of devices."""
    s, c = e.settings, e.communication
    rounds = range(1, s.rounds + 1)
    if any(sum(p.learn for p in batch_plans_of(e.data.policy, round)) > 1 for round in rounds):
        valid = "must learn once a round with {}, as both times the noise would be the same"
        yield "update", choice("update", s.update), valid
    if c.layout.statistics:
        valid = "must be local with {}: counts and variances such as "
        valid += f"{c.layout.statistics[0].name} cannot be noised"
        yield "buffers", s.buffers, valid
    if not e.data.privacy.hidden_in_mean:
        return
    if e.poison is not None or c.message_attack is not None or c.link_attack is not None:
        valid = "must be local with hostile devices, which need not add their share of the noise"
        yield "privacy.noise", "distributed", valid
    if not c.aggregator.linear:
        valid = "must be mean with privacy.noise=distributed: it is the noise of a sum, and another"
        yield "aggregator", choice("aggregator", s.aggregator), f"{valid} rule looks at each row"
    sending = [phase for phase in c.phases if phase.sends]
    whole = c.protocol.sends_parameters
    if any(
        not phase.through_server or phase.width != c.layout.width or not whole for phase in sending
    ):
        valid = "must be local with a protocol in which others see more than the mean over all"
        named = f"{valid} devices' parameters, such as {called(c.protocol)}"
        yield "privacy.noise", "distributed", named
    shares = c.server_shares(1)
    if sending and len(set(shares[shares > 0].tolist())) > 1:
        valid = "must be equal with privacy.noise=distributed: noise is added for equal weights"
        yield "protocol.shares", shown(s.protocol.get("shares")), valid
