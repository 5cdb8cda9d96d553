"""Robust rules at a server: what all devices receive, the same bits however the swarm is cut, and
what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.communication.aggregation.at_server import combined
from swarm.communication.aggregation.base import Draws
from swarm.config.build import options
from tests.communication.aggregation.test_rules import made
from tests.communication.aggregation.written_out import heard, random_rows
from tests.support import prepared, require_same_bits, trajectory

SYMMETRIC = [name for name in options("aggregator") if made(name).symmetric]
FEDAVG = ("protocol=fedavg", "devices=12", "model=softmax", "partition=iid", "rounds=2")


def test_the_rules_for_a_server_treat_all_rows_alike() -> None:
    """Whichever row comes first; and rows that are no numbers count as hostile ones."""
    assert {"coordinate_median", "trimmed_mean", "krum", "multi_krum"} <= set(SYMMETRIC)
    rows = random_rows(9) + np.random.default_rng(1).random((9, 7)) / 9  # no two equal ones
    for name in SYMMETRIC:
        rule = made(name, f=2)
        expected = rule.combine(heard(rows))
        for shift in (1, 4):
            found = combined(rule, torch.as_tensor(np.roll(rows, shift, 0)), np.arange(9), Draws())
            assert found is not None
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        spoilt = torch.as_tensor(np.concatenate([np.full((2, 7), np.nan), rows]))
        borne = combined(rule, spoilt, np.arange(11), Draws())
        assert borne is not None
        torch.testing.assert_close(borne, made(name, f=0).combine(heard(rows)), rtol=0, atol=1e-4)
    few = combined(made("trimmed_mean", f=3), torch.as_tensor(rows[:5]), np.arange(5), Draws())
    assert few is not None  # as many hostile ones as five rows bear, and no client's own row
    torch.testing.assert_close(few, made("trimmed_mean", f=2).combine(heard(rows[:5])))
    assert combined(made("krum"), torch.full((3, 7), np.nan), np.arange(3), Draws()) is None


def test_everybody_receives_what_the_server_makes_of_all_rows() -> None:
    mean = trajectory(prepared(*FEDAVG))
    untrimmed = trajectory(prepared(*FEDAVG, "aggregator=trimmed_mean", "aggregator.f=0"))
    np.testing.assert_allclose(untrimmed, mean, atol=1e-5)
    found = trajectory(prepared(*FEDAVG, "aggregator=coordinate_median"))
    assert (found[1:] == found[1:, :1]).all()
    assert np.abs(found[1:] - mean[1:]).max() > 1e-4


@pytest.mark.parametrize(
    "words",
    [
        "aggregator=krum protocol.fraction=0.6 network.drop=0.2 aggregator.unsafe=warn",
        "aggregator=trimmed_mean aggregator.f=0.2 protocol=fedadam pre_aggregators=[nnm,bucketing]",
        "aggregator=coordinate_median attack=inner_product attack.devices=3",
    ],
)
@pytest.mark.filterwarnings("ignore:aggregator.f")
def test_shards_and_resume_do_not_change_a_bit(tmp_path: Path, words: str) -> None:
    require_same_bits(tmp_path, *FEDAVG, *words.split(), "engine.block=2", rounds=4, cut=2)


def test_hostile_clients_do_not_move_the_server_out_of_the_honest_range() -> None:
    attack = ("attack=not_a_number", "attack.devices=3")
    found = trajectory(prepared(*FEDAVG, *attack, "aggregator=trimmed_mean", "aggregator.f=3"))
    assert np.isfinite(found[1:]).all()
    far = ("attack=sign_flip", "attack.scale=1000", "attack.devices=3", "aggregator.f=3")
    borne = trajectory(prepared(*FEDAVG, *far, "aggregator=multi_krum"))
    assert np.abs(borne).max() < 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "aggregator=clipped_gossip",
            "aggregator=clipped_gossip: .*treats all rows alike with Fed",
        ),
        (
            "aggregator=krum aggregator.f=5",
            r"f=5: is too many for the server, .* 12 rows; f=4 woul",
        ),
        (
            "aggregator=krum aggregator.f=2 protocol.fraction=0.5",
            "combines 6 rows; f=1 would do there, or more devices in a round",
        ),
        (
            "aggregator=coordinate_median aggregator.f=4 pre_aggregators=[bucketing]",
            r"combines 12 rows, of which bucketing \(size=2\) makes 6; f=2 would do",
        ),
        (
            "aggregator=trimmed_mean aggregator.f=0.05",
            "no hostile row at the server, .* 0.084 would",
        ),
        (
            "aggregator=krum aggregator.f=1 attack=zero attack.devices=2",
            "krum: bears 1 hostile row among the 12 that the server combines, and 2 of their",
        ),
        ("aggregator=krum protocol=scaffold", "remembers sums of what it mixed"),
        (
            "aggregator=krum privacy=device_level privacy.noise=distributed",
            "must be mean with privacy.noise=distributed",
        ),
    ],
)
def test_what_a_server_cannot_do_is_refused(words: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared(*FEDAVG, *words.split())


def test_what_a_server_does_not_bear_is_warned_of() -> None:
    words = ("aggregator=krum", "aggregator.f=6", "aggregator.unsafe=warn")
    with pytest.warns(UserWarning, match="12 rows, bears 4 hostile ones only, and assumes so"):
        prepared(*FEDAVG, *words)
