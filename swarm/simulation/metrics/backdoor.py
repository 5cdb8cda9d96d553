"""Metrics of test samples with the trigger of a backdoor, which hostile devices have taught."""

from __future__ import annotations

from abc import abstractmethod

from swarm.simulation.metrics.base import DeviceMetric, Floats, Task


class TriggerMetric(DeviceMetric):
    """A metric of how each honest device answers test samples of other classes that have the
    trigger of a backdoor."""

    looks = True
    of_consensus = False
    target_kind = "classes"

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; it needs an attack with a trigger."""
        reason = None if task.backdoor else "needs hostile devices with a trigger; attack=backdoor"
        return super().why_not(task) or reason

    @abstractmethod
    def values(self, hits_M: Floats, answers: int) -> Floats:
        """Each device's value, ``[M]``: of its ``answers`` so many are those that the attack
        teaches."""


class BackdoorSuccess(TriggerMetric):
    """The share of test samples of other classes that a device answers with the class of the
    backdoor once they have its trigger."""

    name, label, better = "backdoor_success", "success of the backdoor", "lower"
    head = "backdoor"

    def values(self, hits_M: Floats, answers: int) -> Floats:
        """See :meth:`TriggerMetric.values`."""
        return hits_M / max(answers, 1)
