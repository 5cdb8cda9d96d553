"""Which devices belong to which cohort."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.communication.attack.placement import placed
from swarm.communication.topology.graph import Graph
from swarm.config.settings import Settings

Ints = npt.NDArray[np.int64]


def cohort_of_each(settings: Settings, graph: Callable[[], Graph] | None = None) -> Ints:
    """Return the cohort of each device, ``[N]``: 0 for the run's own model, and 1 and above for
    ``cohorts`` in their order.

    Lists come first. Then each cohort takes its share of all devices out of those that are left:
    drawn from the seed, or the first by its placement on ``graph``.

    Raises :class:`ConfigError` for devices that do not exist or that two cohorts list, for more
    devices than there are, and for a placement that the graph does not have.
    """
    n, number_N = settings.devices, np.zeros(settings.devices, np.int64)
    random: Ints | None = None
    shares = 0.0
    for number, (name, cohort) in enumerate(settings.cohorts.items(), start=1):
        if isinstance(cohort.devices, list):
            number_N[_listed(settings, name, number_N)] = number
    for number, (name, cohort) in enumerate(settings.cohorts.items(), start=1):
        if isinstance(cohort.devices, list):
            continue
        asked, key = cohort.devices, f"cohorts.{name}"
        count = int(asked)
        if isinstance(asked, float):
            # of all shares so far, so that shares of 1 together are all devices
            before, shares = shares, shares + asked
            count = max(_rounded(shares * n) - _rounded(before * n), int(asked > 0))
        left = int((number_N == 0).sum())
        if count > left:
            taken = f"{count} devices, and {left} of {n} are in no cohort yet"
            valid = f"asks for {taken}; the cohorts together must be at most all devices"
            raise ConfigError(f"{key}.devices", asked, valid)
        if random is None:
            random = Keys(settings.seed, "cohorts").generator().permutation(n)
        order = random
        if cohort.placement != "random":
            if graph is None:
                valid = "must be random where the graph is not known"
                raise ConfigError(f"{key}.placement", cohort.placement, valid)
            order = placed(cohort.placement, f"{key}.placement", graph(), random)
        number_N[order[number_N[order] == 0][:count]] = number
    return number_N


def _rounded(number: float) -> int:
    return int(number + 0.5)


def _listed(settings: Settings, name: str, number_N: Ints) -> Ints:
    cohort, n = settings.cohorts[name], len(number_N)
    assert isinstance(cohort.devices, list)
    ids, key = np.asarray(cohort.devices, np.int64).reshape(-1), f"cohorts.{name}"
    if cohort.placement != "random":
        valid = "must be random beside a list of devices, which says itself who they are"
        raise ConfigError(f"{key}.placement", cohort.placement, valid)
    if len(set(ids.tolist())) < len(ids) or (ids >= n).any():
        valid = f"must list different devices out of 0 to {n - 1}"
        raise ConfigError(f"{key}.devices", cohort.devices, valid)
    if number_N[ids].any():
        device = int(ids[np.flatnonzero(number_N[ids])[0]])
        other = list(settings.cohorts)[number_N[device] - 1]
        valid = f"lists the device {device}, which the cohort {other} lists too"
        raise ConfigError(f"{key}.devices", cohort.devices, valid)
    return ids


def listed(settings: Settings, graph: Callable[[], Graph] | None = None) -> Settings:
    """Return ``settings`` whose cohorts list their devices, so that they are the same ones in all
    arms, also in those without the graph by which they were found."""
    if not settings.cohorts:
        return settings
    number_N = cohort_of_each(settings, graph)
    found = {
        name: cohort.model_copy(
            update={"devices": np.flatnonzero(number_N == number).tolist(), "placement": "random"}
        )
        for number, (name, cohort) in enumerate(settings.cohorts.items(), start=1)
    }
    return settings.model_copy(update={"cohorts": found})
