"""Metrics of text: what a device's loss comes to for each byte, and on text of its own."""

from __future__ import annotations

import numpy as np

from swarm.simulation.metrics.base import DeviceScores, Floats, ScoreMetric, Task
from swarm.simulation.metrics.column import DETAILS, Surface
from swarm.simulation.metrics.local import LocalMetric, LocalScores

_NO_TEXT = "needs text, whose classes stand for characters, bytes or byte pairs"
_OTHER_LOSS = "needs train.loss=cross_entropy, which it is made of"


def _of_text(task: Task) -> str | None:
    """Why a loss of ``task`` is no code length of text; None where it is one."""
    return _NO_TEXT if not task.text else None if task.cross_entropy else _OTHER_LOSS


class BitsPerByte(ScoreMetric):
    """loss · T / (ln 2 · n) of T tokens that stand for n bytes of text: how many bits a byte would
    take if the text was coded by what the device predicts. It does not depend on what a token is.
    """

    name, label, better, target_kind = "bits_per_byte", "bits per byte of text", "lower", "classes"
    surfaces: tuple[Surface, ...] = DETAILS
    on_page = ("mean", "p90")
    skips_nan = False

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; it needs text, and cross-entropy."""
        return super().why_not(task) or _of_text(task)

    def values(self, scores: DeviceScores) -> Floats:
        """See :meth:`ScoreMetric.values`."""
        bits_M = scores.loss_M * scores.counts_C.sum() / np.log(2)
        return np.asarray(bits_M / scores.text_bytes)


class LocalPerplexity(LocalMetric):
    """e^loss of a device on held-out text of its own."""

    name, label, better, target_kind = (
        "local_perplexity",
        "perplexity on own held-out text",
        "lower",
        "classes",
    )
    surfaces: tuple[Surface, ...] = DETAILS
    head = "own text, perplexity"

    def why_not(self, task: Task) -> str | None:
        """As :meth:`LocalMetric.why_not`; it needs a label for every position, and
        cross-entropy."""
        if (reason := super().why_not(task)) is not None:
            return reason
        if not task.sequence:
            return "needs a label for every position of a sample, as texts have"
        return None if task.cross_entropy else _OTHER_LOSS

    def values(self, scores: LocalScores) -> Floats:
        """See :meth:`LocalMetric.values`."""
        with np.errstate(over="ignore"):  # of a rate that is too high
            return np.asarray(np.exp(scores.loss_M))


class LocalBitsPerByte(LocalMetric):
    """Bits per byte, as :class:`BitsPerByte`, of a device on held-out text of its own."""

    name, label, better, target_kind = (
        "local_bits_per_byte",
        "bits per byte of own held-out text",
        "lower",
        "classes",
    )
    surfaces: tuple[Surface, ...] = DETAILS
    head = "own text, bits per byte"

    def why_not(self, task: Task) -> str | None:
        """As :meth:`LocalMetric.why_not`; it needs text, and cross-entropy."""
        return super().why_not(task) or _of_text(task)

    def values(self, scores: LocalScores) -> Floats:
        """See :meth:`LocalMetric.values`."""
        assert scores.text_bytes_M is not None, "of text"
        bytes_M = np.where(scores.text_bytes_M > 0, scores.text_bytes_M, np.nan)
        return np.asarray(scores.loss_M * scores.samples_M / (np.log(2) * bytes_M))
