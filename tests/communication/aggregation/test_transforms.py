"""Message transforms: what they do, in which order, and that nobody's company matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swarm.common.errors import ConfigError
from swarm.common.plugin import PluginError
from swarm.common.rng import Keys
from swarm.communication.transform.base import MessageTransform, Sending, transformed
from swarm.communication.transform.clip import Clip
from swarm.communication.transform.noise import Noise
from swarm.config.build import build, option, options
from tests.support import config, experiment, logged, prepared, run, trajectory

GOSSIP = (
    "devices=16",
    "topology=torus",
    "protocol=averaging",
    "init=independent",
    "compute.dtype=float64",
    "model=softmax",
    "rounds=1",
)


def sending(devices: list[int], round: int = 3) -> Sending:
    return Sending(np.array(devices), round, Keys(0, "transform.0.0"))


def test_clip_shortens_long_rows_only() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], dtype=torch.float64)
    clipped = Clip(1.0)(rows, sending([0, 1, 2]))
    np.testing.assert_allclose(clipped, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=0, atol=1e-15)
    assert rows[0, 0] == 3.0


def test_noise_has_the_spread_that_it_says_and_is_nobody_elses() -> None:
    rows = torch.zeros(40, 5000, dtype=torch.float64)
    noise = Noise(0.2)(rows, sending(list(range(40))))
    assert float(noise.std()) == pytest.approx(0.2, rel=0.01)
    assert abs(float(noise.mean())) < 0.002
    other = Noise(0.2)(rows, sending(list(range(40)), round=4))
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.05


@pytest.mark.parametrize("name", options("transform"))
def test_a_row_depends_on_itself_its_device_and_the_round_only(name: str) -> None:
    transform = build(option("transform", name), MessageTransform, "transforms")
    rows = torch.randn(9, 300, generator=torch.Generator().manual_seed(0))
    before, all_of_them = rows.clone(), transform(rows, sending(list(range(9))))
    assert torch.equal(rows, before)
    for some in ([4], [8, 0], [1, 3, 5]):
        assert torch.equal(transform(rows[some], sending(some)), all_of_them[some])


def test_they_are_applied_in_their_order() -> None:
    rows = torch.full((2, 50), 9.0, dtype=torch.float64)
    ids = np.arange(2)
    last_clip = transformed([Noise(3.0), Clip(1.0)], rows, ids, 1, 0, 0)
    last_noise = transformed([Clip(1.0), Noise(3.0)], rows, ids, 1, 0, 0)
    np.testing.assert_allclose(torch.linalg.vector_norm(last_clip, dim=1), 1.0)
    assert float(torch.linalg.vector_norm(last_noise, dim=1).min()) > 10
    assert torch.equal(transformed([], rows, ids, 1, 0, 0), rows)


def test_two_of_a_kind_draw_different_numbers() -> None:
    rows, ids = torch.zeros(1, 2000, dtype=torch.float64), np.arange(1)
    both = transformed([Noise(1.0), Noise(1.0)], rows, ids, 1, 0, 0)
    assert float(both.std()) == pytest.approx(2**0.5, rel=0.1)


def test_neighbours_read_the_changed_row_and_the_sender_keeps_its_own() -> None:
    overrides = (*GOSSIP, "transforms=[{clip: {norm: 0.01}}]")
    found = trajectory(prepared(*overrides))
    W = experiment(*overrides).communication.mixing(1).matrix.toarray()
    first, own = found[0], np.diag(W)[:, None]
    short = first * np.minimum(1.0, 0.01 / np.linalg.norm(first, axis=1))[:, None]
    expected = own * first + (W - np.diag(np.diag(W))) @ short
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=1e-12)


def test_a_compressor_packs_what_transforms_have_made(tmp_path: Path) -> None:
    """Noise of a quarter turns a number of 8 bits into another one: the packets are those of the
    changed rows, and no smaller or larger than before."""
    plain = run(tmp_path / "plain", *GOSSIP, "compressor=qsgd")
    noisy = run(tmp_path / "noisy", *GOSSIP, "compressor=qsgd", "transforms=[{noise: {std: 0.25}}]")
    assert logged(tmp_path / "plain")[-1]["bytes"] == logged(tmp_path / "noisy")[-1]["bytes"]
    assert plain["arms"]["swarm"]["params_sha256"] != noisy["arms"]["swarm"]["params_sha256"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["transforms=clip"],
            r"transforms=clip: must be a list of transforms; transforms=\[clip\]",
        ),
        (["transforms=[clop]"], r"transforms=clop: no such option \(did you mean clip\?\)"),
        (["transforms=[3]"], "transforms=3: must be a name"),
        (["transforms=[{clip: 3}]"], "must be a name"),
        (["transforms=[{clip: {nrm: 3}}]"], r"transforms.nrm=3: no such key \(did you mean norm"),
        (["transforms=[{clip: {norm: 0}}]"], "transforms.norm=0: must be a length above 0"),
        (
            ["transforms=[clip]", "protocol=d2", "mixing=lazy"],
            r"transforms=\[clip\]: must be \[\] with D2",
        ),
        (["transforms=[clip]", "protocol=fedavg"], "which sends through a server"),
        (["transforms=[clip]", "protocol=power_gossip"], "each neighbour a message of its own"),
    ],
)
def test_refusals(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared("devices=8", "topology=ring", *overrides)


class Cut(MessageTransform):
    """Gives back too little."""

    def __call__(self, rows_nM: torch.Tensor, sending: Sending) -> Any:
        return rows_nM[:, 1:]


def test_a_transform_that_returns_other_rows_is_named() -> None:
    with pytest.raises(PluginError, match=r"Cut.*returns .*are needed"):
        transformed([Cut()], torch.zeros(2, 3), np.arange(2), 1, 0, 0)


def test_a_configuration_without_the_keys_is_todays_default() -> None:
    values = config()
    del values["transforms"], values["aggregator"]
    from swarm.config.settings import Settings

    assert Settings.parse(values) == Settings.parse(config())
