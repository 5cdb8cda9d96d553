"""Parts of a run as researchers write them, each derived from a base class and from no built-in
option; tests/contracts/test_own_parts.py runs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from swarm.common.errors import Refusals
from swarm.common.rng import Keys
from swarm.communication.network.base import Bools, Churn, Ints, NoChurn
from swarm.communication.network.network import Network
from swarm.communication.protocol.base import Protocol, Requirements
from swarm.communication.secure.base import SecureSum, SumGroup
from swarm.communication.topology.base import Topology
from swarm.communication.topology.graph import Graph
from swarm.communication.transform.base import MessageTransform, Sending
from swarm.config.settings import Settings
from swarm.data.dataset import DeviceSplit
from swarm.data.stream.poisson import PoissonStream
from swarm.data.stream.stream import Stream
from swarm.experiments.runs.scenario import Arm, Scenario
from swarm.learning.losses.base import SampleLoss
from swarm.learning.optim.optimizer import Optimizer
from swarm.learning.optim.schedule import Schedule
from swarm.learning.privacy.accountant import ORDERS, Accountant
from swarm.learning.privacy.correlated import Pairs
from swarm.learning.privacy.mechanism import ArmFacts, Privacy
from swarm.learning.update.policy import BatchPlan, UpdatePolicy

Floats = npt.NDArray[np.float64]


class Dragged(Optimizer):
    """x ← x − lr·(∇ + drag·x), which is a plain step without drag."""

    def __init__(self, lr: float, schedule: Schedule, drag: float = 0.0) -> None:
        super().__init__(lr, schedule)
        self.drag = drag

    @property
    def plain(self) -> bool:
        return not self.drag

    @property
    def beyond_plain(self) -> dict[str, float]:
        return {"drag": self.drag} if self.drag else {}

    def step(
        self, x_BP: Tensor, g_BP: Tensor, slots: dict[str, Tensor], lr: Tensor, t_B1: Tensor
    ) -> None:
        x_BP.addcmul_(g_BP.add_(x_BP, alpha=self.drag) if self.drag else g_BP, lr, value=-1.0)


class Watching(UpdatePolicy):
    """Devices predict their streams and are not meant to learn."""

    only_predicts = True
    why_idle = "never learns"

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("new", learn=False),)


class Later(UpdatePolicy):
    """Devices learn from round ``first`` on."""

    def __init__(self, first: int = 3) -> None:
        self.first = first

    def batch_plans(self, round: int) -> tuple[BatchPlan, ...]:
        return (BatchPlan("new", learn=round >= self.first),)


class Even(Privacy):
    """What a device has learnt is clipped, and noise of ±σC is added to each number."""

    unit = "device"

    def __init__(
        self, clip_norm: float = 1.0, noise_multiplier: float = 0.5, epsilon: float | None = None
    ) -> None:
        self.clip_norm, self.noise_multiplier = clip_norm, noise_multiplier
        self.delta, self.epsilon = 1e-5, epsilon

    def draw_noise(
        self,
        into_BM: npt.NDArray[np.floating],
        device_B: Ints,
        round: int,
        seed: int,
        share: float,
        pairs: Pairs | None,
    ) -> None:
        u_BM = Keys(seed, "even").uniform(device_B, round, into_BM.shape[1])
        into_BM[:] = np.where(u_BM < 0.5, -1, 1) * self.noise_multiplier * self.clip_norm

    def accountant_for(self, arm: ArmFacts) -> Accountant:
        return TwoEach(self, arm.rate_N)

    def refusals(self, arm: ArmFacts) -> Refusals:
        if arm.directed:
            yield "topology", arm.topology, "must be undirected with {}"


class TwoEach(Accountant):
    """Every release has a Rényi divergence of 2 at each order (made up, and simple to add up)."""

    library = None

    def with_noise(self, noise_multiplier: float) -> Accountant:
        return TwoEach(self.privacy.with_noise(noise_multiplier), self.rate_N)

    def one_release(self, rate: float) -> tuple[Floats, Floats]:
        return np.array(ORDERS, np.float64), np.full(len(ORDERS), 2.0)


class Halves(Privacy):
    """Protects samples by a stream of its own: a step sees each sample with probability 1/2, and
    its local steps are those of DP-SGD."""

    unit = "sample"
    clip_norm, noise_multiplier, delta = 1.0, 1.0, 1e-5

    def stream(self, holdings: DeviceSplit, batch: int, keys: Keys, batch_N: Ints | None) -> Stream:
        return PoissonStream(holdings, batch, keys, batch_N, rate=0.5)


@dataclass(frozen=True, eq=False)
class Enclave(SumGroup):
    """A sum in hardware that all trust: each device sends a key of 128 bits, and nothing is hidden
    from the hardware."""

    @property
    def up_bits(self) -> int:
        return 128


class Hardware(SecureSum):
    """Rows are added up in hardware that all trust."""

    def __init__(self, how: str = "") -> None:
        self.how = how

    def group(self, device_g: Ints, alive_g: Bools, keys: Keys, round: int) -> SumGroup:
        made = Enclave(device_g[:1] if self.how == "other devices" else device_g, alive_g)
        return None if self.how == "none" else made  # type: ignore[return-value]

    def advice(self, size: int) -> Iterator[str]:
        if size > 5:
            yield f"secure_sum: the hardware has room for 5 rows, and a sum has {size}"


class Listed(Topology):
    """The links are those of a file, a pair of devices in each line."""

    file_options = ("links",)

    def __init__(self, devices: int, links: str) -> None:
        text = Path(links).read_text(encoding="utf-8")
        pairs = [[int(each) for each in line.split()] for line in text.splitlines()]
        self._graph = Graph.from_edges(devices, np.array(pairs))

    def graph(self, phase: int) -> Graph:
        return self._graph


class Scaled(MessageTransform):
    """Rows are multiplied by the number in a file."""

    file_options = ("factor",)

    def __init__(self, factor: str) -> None:
        self.factor = float(Path(factor).read_text(encoding="utf-8"))

    def __call__(self, rows_nM: Tensor, sending: Sending) -> Tensor:
        return rows_nM * self.factor


class Slow(Topology):
    """A ring whose graph stands for a minute."""

    window = 60.0

    def __init__(self, devices: int) -> None:
        self.devices = devices

    def graph(self, phase: int) -> Graph:
        n = self.devices
        return Graph.from_edges(n, np.array([[i, (i + 1) % n] for i in range(n)]))


class Neighbours(Topology):
    """Devices 0 and 1, 2 and 3, … of a network meet."""

    period = None

    def __init__(self, all_links: Topology, devices: int) -> None:
        self.all_links, self.devices = all_links, devices

    @property
    def possible(self) -> Topology:
        return self.all_links

    def graph(self, phase: int) -> Graph:
        first = np.arange(0, self.devices - 1, 2)
        return Graph.from_edges(self.devices, np.stack([first, first + 1], axis=1))


class Dancing(Protocol):
    """Devices average with a partner who is always the same."""

    requirements = Requirements(conserves="both", pairs=True)

    def pairing(self, topology: Topology, network: Network) -> Topology:
        return Neighbours(topology, network.devices)


class Sure(SampleLoss):
    """Cross-entropy, written anew, which says what its values are."""

    target_kind = "classes"
    gives_probabilities = True

    def values(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")


class NeverAway(Churn):
    """No device is ever away."""

    absent = True

    def online(self, round: int) -> Bools:
        raise AssertionError("nobody asks a churn that is absent")


class Naps(NoChurn):
    """Overrides what is never asked, as its base class says that there is none."""

    def __init__(self, devices: int) -> None:
        self.devices = devices

    def online(self, round: int) -> Bools:
        return np.arange(self.devices) % 2 == 0


class Sleeps(Naps):
    """Says that there is some."""

    absent = False


class Truants(Churn):
    """Devices that are never there. Their attribute ``absent`` is older than that of the base
    class, and means something else."""

    def __init__(self, devices: int, absent: tuple[int, ...] = (0, 1)) -> None:
        self.devices, self.absent = devices, absent  # type: ignore[misc, assignment]

    def online(self, round: int) -> Bools:
        return ~np.isin(np.arange(self.devices), self.absent)


class Widths(Scenario):
    """One arm, which chooses the width of its model."""

    def arms(self, settings: Settings, steps_a_round: int) -> list[Arm]:
        models = [{**settings.model, "hidden": [width]} for width in (4, 8)]
        variants = tuple(settings.model_copy(update={"model": model}) for model in models)
        return [Arm("wide", variants, differ_in="width")]
