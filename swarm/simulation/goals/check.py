"""Checks that a goal goes together with the data, the graph and the rest of an arm.

Every function raises a :class:`~swarm.common.errors.ConfigError` that names the key to change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm.common.errors import Refusals, refuse
from swarm.common.plugin import called
from swarm.communication.check_messages import rounds_foreseen
from swarm.config.choices import choice
from swarm.simulation.phases.neighbours import ToNeighbours

if TYPE_CHECKING:
    from swarm.simulation.experiment.experiment import Experiment


def check_goal(experiment: Experiment) -> None:
    """Refuse a goal that no device could follow, and one that hears nobody."""
    if experiment.data.goal is None:
        return
    name = choice("goal", experiment.settings.goal)
    for check in (_of_data, _of_links):
        refuse(check(experiment), f"goal={name}")


def _of_data(e: Experiment) -> Refusals:
    """What a device cannot choose its samples from: the key, its value, what would be valid."""
    s, data, name = e.settings, e.data, choice("goal", e.settings.goal)
    if not data.dataset.classes:
        yield "goal", name, "practises classes, and the targets of these data are numbers"
    elif data.dataset.y.ndim > 1:
        yield "goal", name, "needs one class for each sample, and these have one for each position"
    if data.dataset.observed_labels is not None:
        valid = "must be none with {}: who has not been told a sample's class cannot choose by it"
        yield "labels", choice("labels", s.labels), valid
    if data.policy.streams or data.split.ordered:
        valid = "must be epochs with {}: a device chooses from samples that it holds, not from a"
        yield "update", choice("update", s.update), f"{valid} stream of which each comes once"
    if data.stream.batch_N is not None:
        valid = "must give no batch with {}, which takes a share of mini-batches of one size"
        yield "train.devices", s.train.devices, valid
    if data.privacy.unit is not None:
        valid = "must be none with {}: which samples a device chooses tells of its data"
        yield "privacy", choice("privacy", s.privacy), valid


def _of_links(e: Experiment) -> Refusals:
    """Links along which nobody is told anything."""
    s, c, goal = e.settings, e.communication, e.data.goal
    if goal is None or not goal.listens:
        return
    name, alone = choice("goal", s.goal), "random and weakest listen to nobody"
    if c.sums.secure:
        valid = "must be none with {}, whose devices tell their scores in the clear"
        yield "secure_sum", choice("secure_sum", s.secure_sum), valid
    sending = [phase for phase in c.phases if phase is not c.goals]
    if not any(isinstance(phase, ToNeighbours) for phase in sending):
        valid = f"listens to neighbours, and with {called(c.protocol)} nothing goes along links"
        yield "goal", name, f"{valid}; {alone}"
    if not any(len(c.graph(round).src_E) for round in rounds_foreseen(c.messages)):
        valid = f"listens to neighbours, and topology={choice('topology', s.topology)} has no link"
        yield "goal", name, f"{valid}; {alone}"
