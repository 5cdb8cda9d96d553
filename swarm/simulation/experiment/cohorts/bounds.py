"""How many rows devices and servers combine for each number, where not all of them have it.

A rule that goes number by number needs enough rows for its f of every number, so these counts are
held against it before a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from swarm.common.names import named
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.topology.graph import Graph

if TYPE_CHECKING:
    from swarm.simulation.experiment.cohorts.cohorts import Cohorts
    from swarm.simulation.experiment.communication import Communication

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def sent_groups(cohorts: Cohorts) -> list[int]:
    """The groups of numbers that are sent, and not kept by all who have them."""
    found: list[int] = np.unique(cohorts.union.group_P[: cohorts.union.sent].numpy()).tolist()
    return found


def of_group(cohorts: Cohorts, group: int) -> str:
    """Which numbers a group has, as a message says it: ``with the numbers that only own has``."""
    held = [cohorts.names[c] for c in np.flatnonzero(cohorts.union.held_GC[group]).tolist()]
    if len(held) == len(cohorts.names):
        return " with the numbers that all cohorts have"
    joined = f"{', '.join(held[:-1])} and {held[-1]}" if len(held) > 1 else held[0]
    return f" with the numbers that only {joined} {'have' if len(held) > 1 else 'has'}"


def titles(cohorts: Cohorts, names: tuple[str | None, ...] | None) -> tuple[str, ...]:
    """The names of devices for a message, each with its cohort: ``zoe, of the cohort small``."""
    found = []
    for device, cohort in enumerate(cohorts.cohort_N.tolist()):
        name = named(names, device)
        found.append(f"{name}, of" if name else "of")
        found[-1] += f" the cohort {cohorts.names[cohort]}"
    return tuple(found)


def graph_of(cohorts: Cohorts, graph: Graph, group: int) -> Graph:
    """The links of ``graph`` between devices that both have the numbers of a group."""
    has_N = cohorts.holds_NG[:, group]
    both_E = has_N[graph.src_E] & has_N[graph.dst_E]
    return replace(
        graph,
        src_E=graph.src_E[both_E],
        dst_E=graph.dst_E[both_E],
        weight_E=None,
        length_E=None,
    )


def graphs_of(c: Communication, graph: Graph) -> Iterator[tuple[Graph, str]]:
    """The graphs over which the rule of ``c`` combines numbers, and of which numbers each is, as
    the end of a phrase: one graph for all, unless it goes number by number among cohorts."""
    if c.cohorts is None or c.aggregator.partial_rows != "by_number":
        yield graph, ""
        return
    for group in sent_groups(c.cohorts):
        yield graph_of(c.cohorts, graph, group), of_group(c.cohorts, group)


def holders_of(c: Communication) -> Iterator[tuple[Bools, str]]:
    """The devices whose rows the rule of ``c`` combines at a server, and of which numbers; as
    :func:`graphs_of`."""
    if c.cohorts is None or c.aggregator.partial_rows != "by_number":
        yield np.ones(c.settings.devices, bool), ""
        return
    for group in sent_groups(c.cohorts):
        yield c.cohorts.holds_NG[:, group], of_group(c.cohorts, group)


def check_counts(rule: RobustRule, c: Communication, graph: Graph) -> None:
    """Refuse a device that has too few rows of some number for a ``rule`` that goes number by
    number, or warn of it; see :meth:`RobustRule.check_bound`. A number that no neighbour has is
    not combined, and stays as it is."""
    assert c.cohorts is not None
    groups = sent_groups(c.cohorts)
    rows_NG = np.stack([1 + graph_of(c.cohorts, graph, g).degree_in for g in groups], 1)
    rows_NG = np.where(rows_NG > 1, rows_NG, np.iinfo(np.int64).max)
    fewest_N, group_N = rows_NG.min(1), rows_NG.argmin(1)
    alone_N = fewest_N == np.iinfo(np.int64).max

    def of(device: int) -> str:
        assert c.cohorts is not None
        return of_group(c.cohorts, groups[int(group_N[device])])

    names = titles(c.cohorts, c.names)
    rule.check_counts(np.where(alone_N, 1, fewest_N), names, of)


def check_server_counts(rule: RobustRule, c: Communication, heard: list[Bools | None]) -> None:
    """Refuse a server that has too few rows of some number for a ``rule`` that goes number by
    number, or warn of it; ``heard`` says who is heard in the rounds foreseen."""
    assert c.cohorts is not None
    fewest: dict[int, int] = {}
    for active in heard:
        for group in sent_groups(c.cohorts):
            has_N = c.cohorts.holds_NG[:, group]
            count = int((has_N if active is None else has_N & active).sum())
            if count:
                fewest[group] = min(count, fewest.get(group, count))
    if fewest:
        worst = min(fewest, key=lambda group: fewest[group])
        rule.check_server_count(fewest[worst], of_group(c.cohorts, worst))
