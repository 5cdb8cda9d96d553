"""Which devices belong to which cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, counted
from swarm.common.rng import Keys
from swarm.communication.attack.placement import placed
from swarm.communication.topology.graph import Graph
from swarm.config.settings import Settings
from swarm.config.settings.sections import MEMORY, TABLE

Ints = npt.NDArray[np.int64]

OWN_MODEL = -1
"""The number, while devices are given to cohorts, of one that has the run's own model."""


def cohort_of_each(
    settings: Settings,
    graph: Callable[[], Graph] | None = None,
    by: Mapping[str, Callable[[Ints], None]] | None = None,
) -> Ints:
    """Return the cohort of each device, ``[N]``: 0 for the run's own model, and 1 and above for
    ``cohorts`` in their order.

    Lists come first. Then ``by`` writes into these numbers: by the table of devices, and then by
    memory, if a cohort asks for that; :data:`OWN_MODEL` keeps a device out of all cohorts. Then
    each cohort takes its share of all devices out of those that are left, as :func:`_counts` says:
    drawn from the seed, or the first by its placement on ``graph``.

    Raises :class:`ConfigError` for devices that do not exist or that two cohorts list, for more
    devices than there are, and for a placement that the graph does not have.
    """
    n, number_N = settings.devices, np.zeros(settings.devices, np.int64)
    random: Ints | None = None
    for number, (name, cohort) in enumerate(settings.cohorts.items(), start=1):
        if isinstance(cohort.devices, list):
            number_N[_listed(settings, name, number_N)] = number
    for word in (TABLE, MEMORY):
        if any(cohort.devices == word for cohort in settings.cohorts.values()):
            _require_alone(settings, word)
            if by is None:
                raise ConfigError("cohorts", word, "must be lists where nothing else is known")
            by[word](number_N)
    counts = _counts(settings, int((number_N == 0).sum()))
    for number, (name, cohort) in enumerate(settings.cohorts.items(), start=1):
        if isinstance(cohort.devices, list | str):
            continue
        asked, key, count = cohort.devices, f"cohorts.{name}", counts[name]
        left = int((number_N == 0).sum())
        if count > left:
            taken = f"{counted(count, 'device')}, and {left} of {n} are in no cohort yet"
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
    return number_N.clip(0)


def _counts(settings: Settings, left: int) -> dict[str, int]:
    """How many devices each cohort without a list gets, of ``left`` that no list has.

    Shares are rounded one after the other, so that shares of 1 together are all devices. A share of
    less than one device is one, which the largest share gives up where too few are left.
    """
    asked = {name: each.devices for name, each in settings.cohorts.items()}
    counts = {name: each for name, each in asked.items() if isinstance(each, int)}
    of_shares, total, lifted = dict[str, int](), 0.0, 0
    for name, share in asked.items():
        if isinstance(share, float):
            before, total = total, total + share
            count = _rounded(total * settings.devices) - _rounded(before * settings.devices)
            lifts = share > 0 and count == 0
            of_shares[name], lifted = count + lifts, lifted + lifts
    missing = sum(counts.values()) + sum(of_shares.values()) - left
    for _ in range(missing if missing <= lifted else 0):  # more than that are refused
        largest = max(of_shares, key=lambda name: of_shares[name])
        of_shares[largest] -= of_shares[largest] > 1
    return counts | of_shares


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


def _require_alone(settings: Settings, word: str) -> None:
    for name, cohort in settings.cohorts.items():
        if cohort.devices == word and cohort.placement != "random":
            valid = f"must be random beside devices={word}, which says itself who they are"
            raise ConfigError(f"cohorts.{name}.placement", cohort.placement, valid)


def listed(
    settings: Settings,
    graph: Callable[[], Graph] | None = None,
    by: Mapping[str, Callable[[Ints], None]] | None = None,
) -> Settings:
    """Return ``settings`` whose cohorts list their devices, so that they are the same ones in all
    arms, also in those without the graph by which they were found."""
    if not settings.cohorts:
        return settings
    number_N = cohort_of_each(settings, graph, by)
    found = {
        name: cohort.model_copy(
            update={"devices": np.flatnonzero(number_N == number).tolist(), "placement": "random"}
        )
        for number, (name, cohort) in enumerate(settings.cohorts.items(), start=1)
    }
    return settings.model_copy(update={"cohorts": found})
