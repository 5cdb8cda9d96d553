"""Membership inference: whether a device's model tells samples that it has learnt from apart from
others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.simulation.metrics import formulas
from swarm.simulation.metrics.base import Floats, Ints, Task
from swarm.simulation.metrics.column import EVERYWHERE, PAGE, Column
from swarm.simulation.metrics.looking import BlockMetric, DeviceValues

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.metrics.views import BlockView

MOST = 1000  # pairs of a device: enough for a rate of one false positive in a thousand
RATES = {"1": 0.01, "01": 0.001}  # of false positives, by how a key ends


class Membership(BlockMetric):
    """The attack with a threshold on the loss: whoever has a device's model takes a sample with a
    small loss for a member (Yeom, Giacomelli, Fredrikson & Jha, *Privacy risk in machine learning:
    analyzing the connection to overfitting*, CSF 2018, arXiv 1709.01604).

    ``membership_auc`` is, of each device, the area under the ROC curve: the probability that a
    member has a smaller loss than another sample, ties counting one half; 0.5 says that the loss
    tells nothing. ``membership_tpr_1`` and ``membership_tpr_01`` are the share of members that is
    found with at most 1% and 0.1% of false positives (Carlini et al. 2022), over the samples of all
    devices together with one threshold, as few devices have samples enough for such rates. They
    have no value with fewer than 100 or 1000 other samples.

    Each member goes with another sample of the same class (:func:`pairs`). Otherwise devices that
    know some classes only would have larger losses on the others, and the attack would seem to find
    members where it finds classes.
    """

    name = "membership_auc"
    label = "AUC of membership inference"
    head = "membership AUC"
    better = "lower"

    def why_not(self, task: Task) -> str | None:
        """As :meth:`Metric.why_not`; it needs devices that learn from the same samples again."""
        if task.streams:
            return "needs devices that hold their samples from the start, as with update=epochs"
        return super().why_not(task)

    def columns(self) -> tuple[Column, ...]:
        """As :meth:`DeviceMetric.columns`, and the rates of all devices together."""
        rates = [
            Column(
                f"membership_tpr_{end}",
                f"members found at {rate:.1%} false positives",
                "",
                "lower",
                EVERYWHERE if end == "1" else PAGE,
                "members found" if end == "1" else "",
            )
            for end, rate in RATES.items()
        ]
        return (*super().columns(), *rates)

    def width(self, experiment: Experiment) -> int:
        """2 · K, for the K pairs that a device may have."""
        return 2 * most_pairs(experiment.data.dataset, experiment.data.split)

    def look(self, block: BlockView) -> Tensor:
        """The losses of each device on samples that it has learnt from, and then on the partner of
        each, ``[B, 2 · K]``; NaN behind the last of each."""
        e = block.experiment
        data, split, seed = e.data.dataset, e.data.split, e.settings.seed
        found = [pairs(data, split, seed, int(device)) for device in block.devices_B]
        shape = len(found), 2, most_pairs(data, split)
        loss_B2K = torch.full(shape, torch.nan, dtype=torch.float64)
        for part, ids in enumerate(zip(*found, strict=True)):
            loss_BT = block.losses(ids)
            loss_B2K[:, part, : loss_BT.shape[1]] = loss_BT.cpu()
        return loss_B2K.flatten(1)

    def values(self, found: DeviceValues) -> Floats:
        """The AUC of each device, ``[M]``; NaN of one without samples."""
        both = zip(*np.split(found.values_MV, 2, axis=1), strict=True)
        return np.array([formulas.auc(-_there(own), -_there(other)) for own, other in both])

    def together(self, found: DeviceValues) -> dict[str, float | None]:
        """The rates of all devices together; None where there are too few samples."""
        own, other = (-_there(loss_MK) for loss_MK in np.split(found.values_MV, 2, axis=1))
        return {
            f"membership_tpr_{end}": formulas.found_at(rate, own, other)
            if len(other) * rate >= 1
            else None
            for end, rate in RATES.items()
        }


def _there(loss: Floats) -> Floats:
    return np.asarray(loss[~np.isnan(loss)])


def most_pairs(dataset: Dataset, split: DeviceSplit) -> int:
    """K, the largest number of pairs that a device may have."""
    held = split.local_test
    others = len(dataset.test) if held is None else int(held.sizes_N.max(initial=0))
    return min(MOST, others, int(split.sizes_N.max(initial=0)))


def pairs(dataset: Dataset, split: DeviceSplit, seed: int, device: int) -> tuple[Ints, Ints]:
    """The ids of members of a device, and of as many others: of its own held-out samples where
    there are any, else of the test samples. Each has the class of its partner, where samples have
    one class each. They are drawn by (seed, device)."""
    keys = Keys(seed, "membership")
    random = keys.generator(device)
    others = dataset.test if split.local_test is None else split.local_test.of(device)
    ids = random.permutation(split.of(device)), random.permutation(others)
    if dataset.classes and dataset.y.ndim == 1:
        ids = _of_equal_class(*ids, dataset.y.astype(np.int64))
    count = min(most_pairs(dataset, split), *map(len, ids))
    some = random.permutation(min(map(len, ids)))[:count]
    return ids[0][some], ids[1][some]


def _of_equal_class(first: Ints, second: Ints, label_S: Ints) -> tuple[Ints, Ints]:
    """As many of both sets as can be paired with a sample of the same class, pair by pair."""
    both = _numbered(label_S[first]), _numbered(label_S[second])
    _, at, other_at = np.intersect1d(*both, assume_unique=True, return_indices=True)
    return first[at], second[other_at]


def _numbered(label: Ints) -> Ints:
    """For each sample a number of its own, by its class and its rank within the class."""
    order = np.argsort(label, kind="stable")
    ordered = label[order]
    rank = np.arange(len(label)) - np.searchsorted(ordered, ordered)
    found = np.empty(len(label), np.int64)
    found[order] = ordered * (1 << 32) + rank
    return found
