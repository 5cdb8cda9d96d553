"""Describes a run for the summary and for its tracker: its topology, data and environment."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from swarm.common.names import few, named, titled
from swarm.communication.mixing import (
    effective_neighbours,
    observed_rate,
    periodic_rate,
    second_eigenvalue,
)
from swarm.communication.topology.base import WHOLE
from swarm.config.build import build
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.experiments.resolved import NOISE
from swarm.learning.privacy.noise import LeastNoise
from swarm.results.track.base import Tracker
from swarm.simulation.experiment import Experiment

PACKAGES = ("swarm-sim", "torch", "numpy", "scipy", "networkx", "hydra-core", "ray", "wandb")
"""The packages whose versions the numbers depend on."""
MOST_COLUMNS = 10_000
"""The most columns of data for which the summary states the scaling."""
MOST_HOSTILE = 1000
"""The most hostile devices that the summary lists."""
WHO = ("_target_", "devices", "placement")
"""The keys of an attack that say who is hostile."""
LOOKED_AT = 32
"""How many rounds the figures of a topology are estimated from, if it never repeats or only after
more than ``WHOLE`` rounds.
"""


def describe_topology(experiment: Experiment) -> dict[str, Any]:
    """The figures of the first round's graph, and of the mixing matrices of one period.

    If there is no period, or too long a one, the figures are estimated from ``estimated_from``
    rounds (else None), and ``edges``, ``components`` and ``mean_degree`` are means over those
    rounds.
    """
    period = experiment.communication.topology.period
    estimated_from = LOOKED_AT if period is None or period > WHOLE else None
    rounds = range(1, (estimated_from or period or 1) + 1)
    graphs, mixings = [], []
    for round in rounds:
        graphs.append(experiment.communication.graph(round))
        mixings.append(experiment.communication.mixing(round))
    if not estimated_from:
        del graphs[1:]
    if estimated_from:
        rho = observed_rate(mixings)
    else:
        rho = second_eigenvalue(mixings[0]) if period == 1 else periodic_rate(mixings).per_round
    return {
        "name": option_name(experiment.settings.topology),
        "directed": graphs[0].directed,
        "edges": _mean([len(graph.links_E2) for graph in graphs]),
        "mean_degree": float(np.mean([graph.mean_degree for graph in graphs])),
        "components": _mean([graph.components() for graph in graphs]),
        "period": period,
        "estimated_from": estimated_from,
        "rho": None if np.isnan(rho) else rho,
        "spectral_gap": None if np.isnan(rho) else 1.0 - rho,
        "effective_neighbours": effective_neighbours(mixings, ends=4 if estimated_from else None),
    }


def _mean(counts: list[int]) -> float | int:
    """The mean of ``counts``, as a whole number if all are the same."""
    return counts[0] if len(set(counts)) == 1 else float(np.mean(counts))


def describe_attack(arms: Sequence[Settings]) -> dict[str, Any]:
    """What hostile devices do in the first arm that is attacked, how many they are, and who;
    nothing if nobody is hostile. Arms list the hostile devices."""
    found = [each for each in arms if isinstance(each.attack.get("devices"), list)]
    named = [(choice("attack", each.attack), each) for each in found if each.attack["devices"]]
    if not named:
        return {}
    name, settings = next((pair for pair in named if pair[0] != "none"), named[0])
    who = sorted(settings.attack["devices"])
    return {
        "attack": {
            "name": name,
            **{key: value for key, value in settings.attack.items() if key not in WHO},
            "hostile": len(who),
            "honest": settings.devices - len(who),
            "hostile_devices": who[:MOST_HOSTILE],
        }
    }


def describe_cohorts(experiment: Experiment) -> dict[str, Any]:
    """How many devices each cohort has, and how many parameters their model has; nothing where all
    devices have the same model."""
    cohorts = experiment.model.cohorts
    if cohorts is None:
        return {}
    models = dict(zip(cohorts.names, cohorts.models, strict=True))
    found = {
        name: {"devices": devices, "parameters": models[name].layout.width}
        for name, devices in cohorts.devices_of_each.items()
    }
    return {"cohorts": found}


def describe_data(d: Dataset, holdings: DeviceSplit, experiment: Experiment) -> dict[str, Any]:
    """The numbers of samples, their shape and classes, and how many samples a device holds."""
    own = {
        f"{name}_per_device": _sizes(held)
        for name in ("local_test", "local_validation")
        if (held := getattr(holdings, name)) is not None
    }
    replay_bytes = experiment.data.replay_bytes(experiment.dtype.itemsize)
    return {
        "name": option_name(experiment.settings.data),
        "train": len(holdings.sample),
        "validation": len(d.validation),
        **({"public": len(d.public)} if d.public is not None else {}),
        "test": len(d.test),
        "classes": d.classes,
        **({"class_names": names} if (names := few(d.class_names)) else {}),
        "features": list(d.x.shape[1:]),
        "samples_per_device": _sizes(holdings),
        **own,
        **({"replay_bytes_per_device": replay_bytes} if replay_bytes else {}),
    }


def _sizes(split: DeviceSplit) -> dict[str, float]:
    """The least, median and largest number of samples of a device."""
    return {
        "min": int(split.sizes_N.min()),
        "median": float(np.median(split.sizes_N)),
        "max": int(split.sizes_N.max()),
    }


def describe_scaling(d: Dataset) -> dict[str, Any]:
    """How features and targets were scaled, so that a user of a device's model can repeat and undo
    it.

    ``scaled = (raw − shift) / span`` for each column; a single number where all features are scaled
    alike. It is None where nothing was scaled, or there are more than ``MOST_COLUMNS`` columns.
    """
    parts = {"features": d.scaling, "target": d.target}
    found: dict[str, Any] = {
        name: None
        if one is None or len(one.shift) > MOST_COLUMNS
        else {"shift": one.shift.tolist(), "span": one.span.tolist()}
        for name, one in parts.items()
    }
    if found["features"] is not None and d.columns:
        found["features"]["names"] = list(d.columns)
    return found


def versions() -> dict[str, str]:
    """The versions of Python and of the installed :data:`PACKAGES`, by name."""
    return {"python": platform.python_version(), **_installed()}


@cache
def _installed() -> dict[str, str]:
    """The versions of packages, which are read once in a process: that takes a while."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def option_name(node: dict[str, Any]) -> str:
    """The name of a plug-in's class in snake case: ``small_world`` for
    ``swarm.communication.topology.random.SmallWorld``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node["_target_"].rsplit(".", 1)[-1]).lower()


def describe_noise(found: LeastNoise, planned: Experiment) -> str:
    """What a run says of the noise that it has found for an arm."""
    text = f"{NOISE}=auto is {found.noise_multiplier:g}, the least with which no device"
    text += f" spends more than privacy.epsilon={found.target:g} in {planned.settings.rounds}"
    who, accountant = named(planned.names, found.device), planned.accountant
    text += f" rounds; {titled(found.device, who)} spends most, {found.epsilon:.4g}"
    if accountant is not None and accountant.privacy.unit == "sample":
        rate = accountant.rate_N[found.device]
        text += f", in {found.releases} steps, each on {100 * rate:.3g}% of its samples"
    return text


def tracker_of(
    settings: Settings, folder: Path, run: str, names: Mapping[str, list[str | None]] | None = None
) -> Tracker:
    """The tracker of the run or claim ``run`` in ``folder``; ``names`` are those of
    :attr:`~swarm.experiments.runs.prepared.PreparedRun.names`.

    Raises :class:`ConfigError` for a tracker that cannot be built.
    """
    config = {**settings.model_dump(), **(names or {})}
    context = {"folder": folder, "run": run, "config": config, "versions": versions()}
    return build(settings.tracker, Tracker, "tracker", settings.plugins, **context)


def require_tracker(
    settings: Settings, names: Mapping[str, list[str | None]] | None = None
) -> None:
    """Build the tracker of a run or claim that is checked, in a folder that is gone afterwards, as
    a tracker may open its files at once.

    Raises :class:`ConfigError`, or what its constructor raises, if it cannot be built."""
    # what it leaves open, or writes on a thread of its own, may keep the folder
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tracker = tracker_of(settings, Path(folder), "check", names)
        # a run goes on without a tracker that fails later
        with suppress(Exception, SystemExit):
            tracker.close()
