"""How many hostile neighbours a rule bears, and what happens where a device has too few others."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.bucketing import Bucketing
from swarm.communication.aggregation.clipped_gossip import ClippedGossip
from swarm.communication.aggregation.coordinate_median import CoordinateMedian
from swarm.communication.aggregation.krum import Krum, MultiKrum
from swarm.communication.aggregation.mean import Mean
from swarm.communication.aggregation.minimum_diameter import SUBSETS, MinimumDiameter
from swarm.communication.aggregation.nnm import NearestNeighbourMixing
from swarm.communication.aggregation.pre_aggregator import PreAggregated
from swarm.communication.aggregation.reputation import Reputation
from swarm.communication.aggregation.robust import RobustRule, too_many
from swarm.communication.aggregation.trimmed_mean import TrimmedMean
from swarm.communication.aggregation.ubar import Ubar
from swarm.communication.topology.graph import Graph
from swarm.communication.topology.regular import Complete, Ring, Star
from tests.communication.aggregation.test_rules import NAMES, made
from tests.communication.aggregation.written_out import heard, random_rows
from tests.support import prepared

ROBUST = [name for name in NAMES if isinstance(made(name), RobustRule)]
LEAST = {"krum": 5, "multi_krum": 5}  # rows for f = 1; of all others 3


def test_what_rules_bear() -> None:
    assert [CoordinateMedian().bears(n) for n in (1, 2, 3, 4, 5, 6, 7)] == [0, 0, 1, 1, 2, 2, 3]
    assert [TrimmedMean(0.25).bears(n) for n in (3, 4, 7, 8, 12)] == [0, 1, 1, 2, 3]
    assert [TrimmedMean(2).bears(n) for n in (3, 4, 5, 9)] == [1, 1, 2, 2]
    assert [Krum(2).bears(n) for n in (4, 5, 6, 7, 8, 20)] == [0, 1, 1, 2, 2, 2]
    assert [Ubar(3).bears(n) for n in (2, 3, 5, 9)] == [0, 1, 3, 3]
    assert [ClippedGossip().bears(n) for n in (2, 5)] == [1, 4]
    assert [ClippedGossip("auto", 1).bears(n) for n in (2, 3, 5)] == [0, 1, 1]
    assert [Mean().bears(5), Reputation().bears(5)] == [0, 4]
    buckets = PreAggregated([Bucketing(2)], CoordinateMedian(2))
    assert [buckets.bears(n) for n in (4, 5, 6, 8, 9)] == [0, 1, 1, 1, 2]


@pytest.mark.parametrize("name", ROBUST)
def test_a_graph_is_refused_where_a_device_has_too_few_rows_for_f(name: str) -> None:
    """Each of them in one sentence that names the device, and what it advises is accepted."""
    if name in ("clipped_gossip", "ubar"):  # which bear all, or all but one
        rule, least = made(name, f=3), 4 + (name == "ubar")
    else:
        rule, least = made(name, f=1), LEAST.get(name, 3)
    assert isinstance(rule, RobustRule)
    rule.check_bound(Complete(least).graph(0), None)
    line = Graph.from_edges(least + 1, [(i, j) for i in range(1, least) for j in range(i)])
    lonely = Graph.from_edges(least + 1, [*line.links_E2.tolist(), (least, 0)])
    said = rf"f={rule.f}: is too many for device {least} \(zoe\), which combines 2 rows, its own"
    names = [None] * least + ["zoe"]
    with pytest.raises(
        ConfigError, match=rf"{said} included, and that f needs {least}; "
    ) as refused:
        rule.check_bound(lonely, names)
    assert "aggregator.unsafe=warn" in str(refused.value)
    wary = made(name, f=int(rule.f), unsafe="warn")
    with pytest.warns(UserWarning, match=rf"f={rule.f}: device {least} \(zoe\) ha"):
        wary.check_bound(lonely, names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule.check_bound(Graph.empty(4), None)  # who hears nobody needs nothing
        made(name).check_bound(Complete(6).graph(0), None)


def test_the_advice_of_a_refusal_is_accepted() -> None:
    with pytest.raises(ConfigError, match=r"device 0, .* 5 rows.* needs 7; f=1 would do there"):
        Krum(2).check_bound(Complete(5).graph(0), None)
    Krum(1).check_bound(Complete(5).graph(0), None)
    Krum(2).check_bound(Complete(7).graph(0), None)
    with pytest.raises(
        ConfigError, match="f needs 5; so few rows bear no hostile one, and only a topo"
    ):
        Krum(1).check_bound(Ring(9).graph(0), None)


def test_a_share_of_less_than_one_row_is_no_silence() -> None:
    """A quarter of three rows is no row: who has so few takes a mean, and a warning says who."""
    star = Star(9).graph(0)  # the hub has nine rows, all others two
    said = (
        r"f=0.25: 8 devices, such as device 1, which combines 2 rows, its own included, assume no"
    )
    with pytest.warns(UserWarning, match=rf"{said} hostile row, .*; a topology with more links"):
        TrimmedMean(0.25).check_bound(star, None)
    one = Graph.from_edges(5, [(i, j) for i in range(4) for j in range(i)] + [(4, 0), (4, 1)])
    said = r"f=0.3: device 4 \(zoe\), which combines 3 rows, .* assumes no .*; at least 0.334 or a"
    with pytest.warns(UserWarning, match=said):
        TrimmedMean(0.3).check_bound(one, [None] * 4 + ["zoe"])
    with pytest.warns(UserWarning, match="the server, which combines 3 rows assumes no .* 0.334"):
        TrimmedMean(0.3).check_server_count(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TrimmedMean(0.334).check_bound(one, None)
        TrimmedMean(0.25).check_bound(Complete(4).graph(0), None)
        CoordinateMedian(0.25).check_bound(star, None)  # which does not go by f


@pytest.mark.parametrize("name", ROBUST)
def test_a_rule_that_leaves_out_nobody_is_called_a_mean(name: str) -> None:
    """And so it is: with f = 0 the result is the mean of all rows."""
    rule, rows = made(name, f=0), random_rows(7)
    if name not in ("trimmed_mean", "multi_krum", "minimum_diameter", "monna"):
        assert not rule.leaves_out  # type: ignore[attr-defined]
        return
    np.testing.assert_allclose(rule.combine(heard(rows)), rows.mean(0), rtol=1e-12, atol=1e-12)
    with pytest.warns(UserWarning, match="leaves out no row, so that it is a mean with equal"):
        rule.check(Complete(7).graph(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(name, f=1).check(Complete(7).graph(0))
    assert not MultiKrum(0, selected=2).leaves_out


def test_a_refusal_names_the_buckets_that_leave_too_few_rows() -> None:
    """f=2 is fine among the five rows of a complete graph, and not among its three buckets."""
    CoordinateMedian(2).check_bound(Complete(5).graph(0), None)
    halves = PreAggregated([NearestNeighbourMixing(), Bucketing(2)], CoordinateMedian(2))
    said = (
        r"f=2: is too many for device 0, which combines 5 rows, its own included, of which"
        r" bucketing \(size=2\) makes 3, and that f needs 9; f=1 would do there"
    )
    with pytest.raises(ConfigError, match=said):
        halves.check_bound(Complete(5).graph(0), None)
    halves.check_bound(Complete(9).graph(0), None)


def test_minimum_diameter_refuses_too_many_subsets() -> None:
    star = Star(40).graph(0)  # the hub has 39 neighbours
    said = rf"658,008 subsets of the 40 rows that device 0 \(hub\) combines.*{SUBSETS:,}"
    short = "device 3 and 36 more have too few neighbours"
    with pytest.warns(UserWarning, match=short), pytest.raises(ConfigError, match=said):
        MinimumDiameter(5, "warn").check_bound(star, ["hub"] + [None] * 39)
    with pytest.raises(ConfigError, match="658,008 subsets"):
        PreAggregated([NearestNeighbourMixing()], MinimumDiameter(5)).check_bound(
            Complete(40).graph(0), None
        )
    halves = PreAggregated([Bucketing(2)], MinimumDiameter(5))  # of 20 buckets
    with pytest.raises(ConfigError, match="15,504 subsets of the 20 rows"):
        halves.check_bound(Complete(40).graph(0), None)
    rows = np.random.default_rng(0).standard_normal((40, 3))  # of a graph that changes
    with pytest.raises(ConfigError, match="658,008 subsets"):
        MinimumDiameter(5).combine(heard(rows))


def test_with_too_few_messages_a_device_keeps_its_row_or_bears_what_it_can() -> None:
    rows = random_rows(4)
    rows[1] = 1e9
    for name in ROBUST:
        if name in ("clipped_gossip", "ubar"):
            continue
        rule, wary = made(name, f=2), made(name, f=2, unsafe="warn")
        assert torch.equal(rule.combine(heard(rows)), torch.as_tensor(rows[0]))
        if name in ("krum", "multi_krum"):  # which bear none among four
            continue
        found = wary.combine(heard(rows))
        assert not torch.equal(found, torch.as_tensor(rows[0]))
        assert float(found.abs().max()) < 50  # one hostile row of four is borne


def test_too_many() -> None:
    """Honest devices with more hostile neighbours than their rule bears; hostile ones never."""
    ring = Ring(8).graph(0)
    assert too_many(ring, [0, 2], CoordinateMedian()).tolist() == [1]
    assert too_many(ring, [0, 2], Mean()).tolist() == [1, 3, 7]
    assert too_many(ring, [0, 2], ClippedGossip()).tolist() == []
    assert too_many(ring, [], Mean()).tolist() == []
    assert too_many(ring, np.array([0, 1]), Mean()).tolist() == [2, 7]
    star = Star(6).graph(0)
    assert too_many(star, [3, 4, 5], TrimmedMean(2)).tolist() == [0]
    assert too_many(star, [0], TrimmedMean(2)).tolist() == [1, 2, 3, 4, 5]  # two rows bear none
    assert too_many(Graph.empty(3), [0], Mean()).tolist() == []
    directed = Graph.from_edges(3, [(0, 1), (1, 2)], directed=True)
    assert too_many(directed, [0], Mean()).tolist() == [1]  # who hears it, not whom it hears


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["aggregator=krum", "topology=ring"],
            r"aggregator.f=1: is too many for device 0, which combines 3 rows",
        ),
        (
            ["pre_aggregators=[bucketing]", "aggregator=krum", "topology=torus"],
            r"aggregator.f=1: is too many for device 0, which combines 5 rows, its own included, of"
            r" which bucketing \(size=2\) makes 3, and that f needs 9",
        ),
        (["pre_aggregators=[nnm]"], r"pre_aggregators=\[nnm\]: must be \[\] with Mean"),
        (
            ["pre_aggregators=[nnm]", "aggregator=coordinate_median"],
            r"pre_aggregators=\[nnm\]: must be \[\] with CoordinateMedian and aggregator.f=0",
        ),
        (
            ["pre_aggregators=[nnm]", "aggregator=ubar"],
            r"pre_aggregators=\[nnm\]: must be \[\] with Ubar, which measures the models",
        ),
        (["pre_aggregators=nnm"], r"pre_aggregators=nnm: must be a list of pre_aggregators"),
        (
            ["pre_aggregators=[{bucketing: {size: 1}}]", "aggregator=krum"],
            "pre_aggregators.size=1: must be a whole number of at least 2",
        ),
        (["aggregator=krum", "aggregator.f=0.7"], "aggregator.f=0.7: must be a whole number"),
        (
            ["aggregator=krum", "aggregator.unsafe=yes"],
            "aggregator.unsafe=.*: must be one of refuse, warn",
        ),
        (
            ["aggregator=trimmed_mean", "aggregator.share=0.3"],
            "aggregator.share=0.3: is called aggregator.f now",
        ),
        (
            ["aggregator=ubar"],
            "data.local_validation=0: must be above 0 with Ubar, whose devices measure models",
        ),
        (
            ["aggregator=ubar", "protocol=delta_sharing", "data.local_validation=0.2"],
            "aggregator=ubar: must be a rule that measures no models with DeltaSharing",
        ),
    ],
)
def test_refusals(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared("devices=16", "topology=torus", *overrides)
