"""Noise that cancels between neighbours: how it is made, and what it protects.

Allouah, Koloskova, El Firdoussi, Jaggi & Guerraoui, *The privacy power of correlated noise in
decentralized learning*, ICML 2024 (arXiv 2405.01031), whose algorithm is DECOR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, Refusals
from swarm.common.rng import Keys, NormalRows
from swarm.learning.privacy.accountant import Accountant
from swarm.learning.privacy.mechanism import MOST_NOISE, ArmFacts, Counting, Gaussian

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST_DEVICES = 2048
"""The largest swarm whose noise is counted together: a matrix with so many rows is inverted."""
MOST_RATIO = 1e6  # of (τ/σ)²: more is counted as this much, so that the inverse is exact enough
PHASES_KEPT = 16


class Correlated(Gaussian):
    """Each device clips and noises what it has learnt in a round, as :class:`DeviceLevel` does, and
    adds noise that it shares with each of its neighbours on the graph of the round:

        x_end,i ← x_start,i + clip_C(Δ_i) + σC·z_i + Σ_{j ∈ N(i)} τC·z_ij,   z_ij = −z_ji,

    where z_i and z_ij are N(0, I), τ is ``correlated_multiplier``, and both devices of a pair make
    z_ij from a secret of theirs. The noise of pairs is 0 in the sum over all devices, so that the
    mean of their models has the noise σC/√N alone.

    Two swarms are neighbours if in one of them one device's Δ is 0 in all rounds. An adversary sees
    all messages, and knows the secrets of ``colluders`` devices, whichever they are.

    Raises :class:`ConfigError` for settings out of range.
    """

    unit = "device"
    shares_noise = True

    def __init__(
        self,
        clip_norm: float | None = 1.0,
        noise_multiplier: float = 0.3,
        correlated_multiplier: float = 1.0,
        delta: float = 1e-5,
        epsilon: float | None = None,
        colluders: int = 0,
        accountant: Counting = "rdp",
    ) -> None:
        super().__init__(clip_norm, noise_multiplier, delta, epsilon, accountant)
        if not 0 <= correlated_multiplier <= MOST_NOISE:
            valid = f"must be a number from 0 to {MOST_NOISE:g}"
            raise ConfigError("correlated_multiplier", correlated_multiplier, valid)
        if correlated_multiplier and clip_norm is None:
            valid = (
                "must be 0 with clip_norm=null: noise hides only what clipping has bounded, so it"
                " needs a clip_norm"
            )
            raise ConfigError("correlated_multiplier", correlated_multiplier, valid)
        if colluders < 0:
            valid = "must be 0 or a number of devices that tell an adversary all that they know"
            raise ConfigError("colluders", colluders, valid)
        self.correlated_multiplier, self.colluders = correlated_multiplier, colluders

    @property
    def noisy(self) -> bool:
        """Whether any noise is added."""
        return self.noise_multiplier > 0 or self.correlated_multiplier > 0

    @property
    def noise_without_learning(self) -> bool:
        """Always true: without a device's noise, the noise of its neighbours would not cancel."""
        return True

    def draw_noise(
        self,
        into_BM: npt.NDArray[np.floating],
        device_B: Ints,
        round: int,
        seed: int,
        share: float,
        pairs: Pairs | None,
    ) -> None:
        super().draw_noise(into_BM, device_B, round, seed, share, pairs)
        assert self.clip_norm is not None, "noise is added to what is clipped"
        if pairs is not None:
            std = self.correlated_multiplier * self.clip_norm
            pairs.add_noise(into_BM, device_B, round, std, seed)

    def accountant_for(self, arm: ArmFacts) -> PairAccountant:
        return PairAccountant(self, arm.phase, arm.pairs, arm.honest_N)

    def refusals(self, arm: ArmFacts) -> Refusals:
        """What keeps the noise of pairs from cancelling, or from being counted."""
        if arm.by_server:
            valid = "must be one whose messages go along links with {}; with a server,"
            valid += " privacy=device_level with privacy.noise=distributed adds less noise"
            yield "protocol", arm.protocol, valid
        if not arm.sends_parameters:
            valid = "must be one that sends parameters with {}: the noise of a pair cancels in"
            yield "protocol", arm.protocol, f"{valid} their mean only"
        if arm.directed:
            valid = "must be undirected with {}: both devices of a link add its noise"
            yield "topology", arm.topology, valid
        if self.colluders > arm.devices - 2:
            valid = f"must be at most {arm.devices - 2} of {arm.devices} devices, as two have a"
            yield "privacy.colluders", self.colluders, f"{valid} pair"
        if self.counted and not self.colluders and arm.devices > MOST_DEVICES:
            valid = f"must be 1 or more in a swarm of more than {MOST_DEVICES:,} devices: with 0"
            yield "privacy.colluders", 0, f"{valid} the noise of all pairs is counted together"


@dataclass(frozen=True)
class Pairs:
    """The pairs of linked devices of a round, each in both directions.

    Attributes:
        devices: N, the number of all devices.
        own_E: The one device of each pair, in ascending order.
        other_E: The other one; those of one device are in ascending order.
    """

    devices: int
    own_E: Ints
    other_E: Ints

    def add_noise(
        self, into_BM: npt.NDArray[np.floating], device_B: Ints, round: int, std: float, seed: int
    ) -> None:
        """Add Σ_j std · z_ij to the row of each device i of ``device_B``. z_ij follows from the
        seed, the pair and the round, and the two devices of a pair add the same bits with opposite
        signs."""
        first_B = np.searchsorted(self.own_E, device_B)
        count_B = np.searchsorted(self.own_E, device_B, "right") - first_B
        row_K = np.repeat(np.arange(len(device_B)), count_B)
        rank_K = np.arange(len(row_K)) - np.repeat(np.cumsum(count_B) - count_B, count_B)
        own_K, other_K = device_B[row_K], self.other_E[first_B[row_K] + rank_K]
        pair_K = np.minimum(own_K, other_K) * self.devices + np.maximum(own_K, other_K)
        normal = NormalRows(Keys(seed, "privacy.pair"), into_BM.shape[1], into_BM.dtype)
        drawn = normal.rows(pair_K, np.full(len(row_K), round), np.full(len(row_K), std))
        for some, noise_rM in drawn:
            # one by one, as several of them may belong to one device
            for row, first, noise_M in zip(
                row_K[some], own_K[some] < other_K[some], noise_rM, strict=True
            ):
                if first:
                    into_BM[row] += noise_M
                else:
                    into_BM[row] -= noise_M


def exposed_N(pairs: Pairs, honest_N: Bools, ratio: float, colluders: int) -> Floats:
    """What of a release without any noise of pairs the release of each device amounts to, ``[N]``,
    from 1 (the noise of pairs protects nothing) down to 1/N (it protects as an adding-up server
    would that everybody trusts).

    All messages of a round are one release of a Gaussian mechanism, whose noise has the covariance
    C²Σ over devices, with Σ = σ²I + τ²L, where L is the Laplacian of the links between honest
    devices: whoever knows one device's secrets knows the noise of its pairs. If the change of
    device i is another one, by at most C, the Rényi divergence of order α is at most
    α/2 · (Σ⁻¹)_ii. This function returns σ²(Σ⁻¹)_ii; ``ratio`` is (τ/σ)².

    Without further ``colluders`` that is exact if all devices take part. If some do not, Σ is a
    principal submatrix, the diagonal of whose inverse is smaller. With k colluders that nobody
    knows, device i has at least d_i − k honest neighbours, and the result is that for the star of
    those links alone: fewer links make (Σ⁻¹)_ii larger.
    """
    t = min(ratio, MOST_RATIO)
    honest_E = honest_N[pairs.own_E] & honest_N[pairs.other_E]
    own_E, other_E = pairs.own_E[honest_E], pairs.other_E[honest_E]
    degree_N = np.bincount(own_E, minlength=pairs.devices)
    if colluders:
        left_N = (degree_N - colluders).clip(0)
        return np.asarray(1 / (1 + left_N * t / (1 + t)))
    sigma_NN = np.diag(1 + t * degree_N)
    sigma_NN[own_E, other_E] = -t
    return np.asarray(np.linalg.inv(sigma_NN).diagonal())


class PairAccountant(Accountant):
    """What N devices spend, of which each is protected by the noise of its pairs, too: a release
    costs the part of a full one that :func:`exposed_N` gives, rounded up to 2⁻²⁴.

    ``phase`` says which rounds have the same ``pairs``.
    """

    full: ClassVar[int] = 1 << 24
    privacy: Correlated

    def __init__(
        self,
        privacy: Correlated,
        phase: Callable[[int], int],
        pairs: Callable[[int], Pairs],
        honest_N: Bools,
    ) -> None:
        super().__init__(privacy, np.ones(len(honest_N)))
        self._phase, self._pairs, self._honest_N = phase, pairs, honest_N
        self._ratio = (privacy.correlated_multiplier / privacy.noise_multiplier) ** 2
        self._colluders = privacy.colluders
        self._kept: dict[int, Ints] = {}

    def with_noise(self, noise_multiplier: float) -> PairAccountant:
        """See :meth:`Accountant.with_noise`; the noise of pairs stays as it is."""
        privacy = self.privacy.with_noise(noise_multiplier)
        return PairAccountant(privacy, self._phase, self._pairs, self._honest_N)

    def phase(self, round: int) -> int:
        """See :meth:`Accountant.phase`: one for each graph."""
        return self._phase(round)

    def price_N(self, round: int) -> Ints:
        """What a release of each device in ``round`` costs, ``[N]``."""
        phase = self._phase(round)
        if phase not in self._kept:
            while len(self._kept) >= PHASES_KEPT:
                self._kept.pop(next(iter(self._kept)))
            found_N = exposed_N(self._pairs(round), self._honest_N, self._ratio, self._colluders)
            price_N = np.ceil(self.full * found_N).astype(np.int64).clip(1, self.full)
            self._kept[phase] = price_N
        return self._kept[phase]
