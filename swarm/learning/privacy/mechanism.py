"""The mechanisms that make what leaves a device differentially private, and their settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from swarm.common.errors import ConfigError, Refusals
from swarm.common.rng import Keys, NormalRows
from swarm.data.dataset import DeviceSplit
from swarm.data.stream.poisson import PoissonStream
from swarm.data.stream.stream import Stream

if TYPE_CHECKING:
    from swarm.learning.kernels.kernel import Kernel
    from swarm.learning.kernels.losses import Loss
    from swarm.learning.learner import Learner
    from swarm.learning.optim.optimizer import Optimizer
    from swarm.learning.privacy.accountant import Accountant
    from swarm.learning.privacy.correlated import Pairs

MOST_NOISE, LEAST_NOISE = 1000.0, 0.05  # between them the accountant's sums are exact enough
LEAST_DELTA = 1e-18  # of the numbers that a config may have


Counting = Literal["rdp", "pld"]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ArmFacts:
    """What a mechanism knows, before the start, of the arm in which it protects N devices.

    Attributes:
        rate_N: The probability with which each sample of a device takes part in a step; 1 where
            steps take no random sample.
        honest_N: Which devices are honest.
        phase: The number of the graph of a round: rounds with the same number have the same pairs.
        pairs: The pairs of linked devices of a round.
        directed: Whether the graph of the first round is directed.
        by_server: Whether there are messages, and all of them go to a server.
        sends_parameters: Whether messages are made of parameters.
        protocol: What the config calls the protocol.
        topology: What it calls the topology.
    """

    rate_N: Floats
    honest_N: npt.NDArray[np.bool_]
    phase: Callable[[int], int]
    pairs: Callable[[int], Pairs]
    directed: bool
    by_server: bool
    sends_parameters: bool
    protocol: str
    topology: str

    @property
    def devices(self) -> int:
        """N, the number of devices."""
        return len(self.rate_N)


class Privacy:
    """A mechanism that bounds what a run tells about a sample or a device; this one does nothing.

    Attributes:
        unit: What is protected: one ``sample`` of a device, or all that one ``device`` has; None:
            nothing is.
        shares_noise: Whether neighbours make noise together, for which the pairs of the round's
            graph are needed.
        clip_norm: C, the largest L2 norm of what one unit contributes; None: it is not clipped.
        noise_multiplier: σ; the noise of a release has the standard deviation σ·C.
        delta: δ of the guarantee (ε, δ).
        epsilon: The budget: a device stops learning before its ε would exceed it; None: none.
        accountant: By what ε is counted: Rényi divergences (``rdp``), or privacy loss distributions
            (``pld``).
        rate: The probability with which a sample takes part in a step; None: ``train.batch`` over
            the number of samples.
    """

    unit: ClassVar[Literal["sample", "device"] | None] = None
    shares_noise: ClassVar[bool] = False
    clip_norm: float | None = None
    noise_multiplier: float = 0.0
    delta: float = 0.0
    epsilon: float | None = None
    accountant: Counting = "rdp"
    rate: float | None = None

    @property
    def hidden_in_mean(self) -> bool:
        """Whether others see only means over devices, which add up the noise together."""
        return False

    @property
    def noisy(self) -> bool:
        """Whether any noise is added."""
        return self.noise_multiplier > 0

    @property
    def noise_without_learning(self) -> bool:
        """Whether a device that takes part in a round without learning adds noise all the same, as
        the protection of others needs it."""
        return self.hidden_in_mean

    @property
    def counted(self) -> bool:
        """Whether there is a guarantee to count: without noise ε is infinite."""
        return self.unit is not None and self.noise_multiplier > 0

    def with_noise(self, noise_multiplier: float) -> Self:
        """The same mechanism with another noise multiplier."""
        found = copy(self)
        found.noise_multiplier = noise_multiplier
        return found

    # --- what a mechanism of another kind overrides -----------------------------------------------

    def stream(self, holdings: DeviceSplit, batch: int, keys: Keys, batch_N: Ints | None) -> Stream:
        """Return the order in which devices meet their samples: by default Poisson samples where
        single samples are protected, and else all samples in turn. ``batch_N`` are the sizes of the
        devices' own mini-batches; None: ``batch`` for all."""
        if self.unit == "sample":
            return PoissonStream(holdings, batch, keys, batch_N, self.rate)
        return Stream(holdings, batch, keys, batch_N)

    def learner(
        self, kernel: Kernel, loss: Loss, optimizer: Optimizer, outputs: int, seed: int
    ) -> Learner | None:
        """Return what takes the local steps: by default the steps of DP-SGD where single samples
        are protected, and else None, for steps as without privacy."""
        from swarm.learning.privacy.learner import PrivateLearner

        if self.unit != "sample":
            return None
        return PrivateLearner(kernel, loss, optimizer, outputs, self, seed)

    def draw_noise(
        self,
        into_BM: npt.NDArray[np.floating],
        device_B: Ints,
        round: int,
        seed: int,
        share: float,
        pairs: Pairs | None,
    ) -> None:
        """Write the noise of a round into the rows, which are 0 before, where devices are protected
        as a whole and their changes are clipped to C: by default ``share`` · σC·z, z ~ N(0, I).

        The noise of a device must follow from the seed, the device and the round alone. ``pairs``
        are those of the round, if neighbours share noise (:attr:`shares_noise`)."""
        assert self.clip_norm is not None, "noise is added to what is clipped"
        std_B = np.full(len(device_B), share * self.noise_multiplier * self.clip_norm)
        normal = NormalRows(Keys(seed, "privacy.device"), into_BM.shape[1], into_BM.dtype)
        for some, rows_rM in normal.rows(device_B, np.full(len(device_B), round), std_B):
            into_BM[some] = rows_rM

    def accountant_for(self, arm: ArmFacts) -> Accountant:
        """Return what counts how much of their privacy the devices of ``arm`` spend, of a mechanism
        that is :attr:`counted`: by default the Gaussian mechanism on samples of their rates."""
        from swarm.learning.privacy.accountant import Accountant

        return Accountant(self, arm.rate_N)

    def refusals(self, arm: ArmFacts) -> Refusals:
        """Yield what of ``arm`` breaks the promise of this mechanism: the key, its value, and what
        would be valid, with ``{}`` for the mechanism. What its :attr:`unit` needs is asked before;
        by default that is all."""
        return ()


class NoPrivacy(Privacy):
    """Nothing is clipped or noised."""


class Gaussian(Privacy):
    """The Gaussian mechanism: what a unit contributes is clipped to the norm C, and noise
    N(0, σ²C²) is added to each number.

    Raises :class:`ConfigError` for settings out of range, for noise without clipping, and for a
    budget without noise.
    """

    def __init__(
        self,
        clip_norm: float | None,
        noise_multiplier: float,
        delta: float,
        epsilon: float | None,
        accountant: Counting = "rdp",
    ) -> None:
        if clip_norm is not None and not 1e-12 <= clip_norm <= 1e12:
            raise ConfigError("clip_norm", clip_norm, "must be null or a norm from 1e-12 to 1e12")
        if noise_multiplier != 0 and not LEAST_NOISE <= noise_multiplier <= MOST_NOISE:
            valid = f"must be 0 or a number from {LEAST_NOISE:g} to {MOST_NOISE:g}"
            raise ConfigError("noise_multiplier", noise_multiplier, valid)
        if noise_multiplier and clip_norm is None:
            valid = (
                "must be 0 with clip_norm=null: noise hides only what clipping has bounded, so it"
                " needs a clip_norm"
            )
            raise ConfigError("noise_multiplier", noise_multiplier, valid)
        if not LEAST_DELTA <= delta < 1:
            valid = f"must be a probability from {LEAST_DELTA:g} to below 1, such as 1e-5"
            raise ConfigError("delta", delta, valid)
        if epsilon is not None and not 0 < epsilon < math.inf:
            raise ConfigError("epsilon", epsilon, "must be null or a budget above 0")
        if epsilon is not None and not noise_multiplier:
            valid = "must be null with noise_multiplier=0, which spends any budget at once"
            raise ConfigError("epsilon", epsilon, valid)
        self.clip_norm, self.noise_multiplier = clip_norm, noise_multiplier
        self.delta, self.epsilon, self.accountant = delta, epsilon, accountant


class SampleLevel(Gaussian):
    """DP-SGD on each device: a step is

        x ← x − lr · (1/L) · (Σ_{s∈S} clip_C(∇ℓ_s(x)) + σC·z),   z ~ N(0, I),

    where each sample is in S by itself with probability q (Poisson sampling), and L = q·n is the
    mean size of S. Any optimiser may take that gradient. Abadi et al., *Deep learning with
    differential privacy*, CCS 2016 (arXiv 1607.00133).

    Two data sets are neighbours if one has one sample more, on one device.
    """

    unit = "sample"

    def __init__(
        self,
        clip_norm: float | None = 1.0,
        noise_multiplier: float = 1.0,
        delta: float = 1e-5,
        epsilon: float | None = None,
        rate: float | None = None,
        accountant: Counting = "rdp",
    ) -> None:
        super().__init__(clip_norm, noise_multiplier, delta, epsilon, accountant)
        if rate is not None and not 1e-9 <= rate <= 1:
            raise ConfigError("rate", rate, "must be null or a probability from 1e-9 to 1")
        self.rate = rate


class DeviceLevel(Gaussian):
    """Each device clips and noises the change Δ of the parameters that it sends, once after its
    local steps, before the protocol sees it:

        x_end ← x_start + clip_C(Δ) + s·σC·z,   z ~ N(0, I).

    With ``local`` ``noise``, s = 1: others may see each device's own messages, as in gossip, or at
    a server that nobody trusts. With ``distributed`` noise they may see only the mean that a server
    takes over the m devices of a round, and s = 1/√m: the noise of all m devices together has the
    standard deviation σC in their sum (McMahan et al., *Learning differentially private recurrent
    language models*, ICLR 2018, arXiv 1710.06963, with the noise made by the devices).

    Two swarms are neighbours if in one of them one device's Δ is 0 in all rounds.
    """

    unit = "device"

    def __init__(
        self,
        clip_norm: float | None = 1.0,
        noise_multiplier: float = 1.0,
        delta: float = 1e-5,
        epsilon: float | None = None,
        noise: Literal["local", "distributed"] = "local",
        accountant: Counting = "rdp",
    ) -> None:
        super().__init__(clip_norm, noise_multiplier, delta, epsilon, accountant)
        self.noise = noise

    @property
    def hidden_in_mean(self) -> bool:
        """Whether ``noise`` is ``distributed``."""
        return self.noise == "distributed"
