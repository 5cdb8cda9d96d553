"""Generated data whose heterogeneity between devices is a parameter; each device is the owner of
its samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from swarm.common.arrays import CHUNK
from swarm.common.ranges import number, room
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset, Ints, Reals, Source
from swarm.data.prepare import Samples, prepare
from swarm.data.scaling import Scale, TargetScale, while_generated


@dataclass(eq=False)
class LeafSynthetic(Source):
    """Synthetic(α, β): every device has its own softmax model and its own cloud of inputs.

    For device k: ``u_k ~ N(0, α²)``, ``W_k ~ N(u_k, 1)`` ``[features, classes]``, ``b_k ~ N(u_k,
    1)`` ``[classes]``; ``B_k ~ N(0, β²)``, ``v_k ~ N(B_k, 1)`` ``[features]``, ``x ~ N(v_k,
    diag(j^-1.2))``, ``y = argmax(xW_k + b_k)``. α moves the local models apart, β the local inputs
    (Li et al., FedProx, arXiv 1812.06127, section 5.1, after LEAF, arXiv 1812.01097). α and β are
    standard deviations, as in the code published with FedProx; the paper writes N(0, α).

    **A deviation.** As published ``u_k`` is a single number: it adds the same amount to the score
    of every class, the argmax never changes, and α has no effect at all on the data. Here ``u_k``
    has one entry per class; ``per_class=False`` gives the published form.

    ``iid=True`` is the published Synthetic-IID: all devices have one model, ``W, b ~ N(0, 1)``, and
    one cloud of inputs, ``x ~ N(0, diag(j^-1.2))``; α and β have no effect. Around any other common
    centre one class would get nearly all samples.

    Sizes: ``per_device`` samples each, or with ``per_device=None`` the published ``50 +
    ⌊LogNormal(4, 2)⌋``, cut off at ``most``, as the tail of that distribution is unbounded.
    """

    devices: int
    alpha: float = 1.0
    beta: float = 1.0
    features: int = 60
    classes: int = 10
    per_device: int | None = None
    most: int = 2000
    per_class: bool = True
    iid: bool = False
    scale: Scale = "none"
    test: float = 0.2
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        number("alpha", self.alpha, 0, 1e6)
        number("beta", self.beta, 0, 1e6)
        number("classes", self.classes, 2, 1e4)
        number("most", self.most, 50)
        _check_sizes(self.devices, self.features, self.per_device)
        _check_classes(self.classes, self.features)

    def load(self) -> Dataset:
        sizes_N = self._sizes()
        room("most", self.most, int(sizes_N.sum()), self.features)
        x = np.empty((int(sizes_N.sum()), self.features), np.float32)
        y = np.empty(len(x), np.int64)
        # the square root of the variance j^-1.2
        deviation = np.arange(1, self.features + 1) ** -0.6
        first = 0
        for block, devices in enumerate(
            _blocks(self.devices, self.features * (self.classes + int(sizes_N.max())))
        ):
            weight, bias, centre = self._models(block, len(devices))
            device = np.repeat(np.arange(len(devices)), sizes_N[devices])
            draw = Keys(self.seed, "leaf_synthetic/samples").generator(block)
            inputs = centre[device] + deviation * draw.standard_normal((len(device), self.features))
            cuts = np.cumsum(sizes_N[devices])[:-1]
            scores = [own @ weight[i] + bias[i] for i, own in enumerate(np.split(inputs, cuts))]
            rows = slice(first, first + len(device))
            x[rows], y[rows] = inputs, np.argmax(np.concatenate(scores), axis=1)
            first = rows.stop
        owner = np.repeat(np.arange(self.devices), sizes_N)
        samples = Samples(x, y, self.classes, owner=owner)
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    def loading(self) -> int:
        samples = int(self._sizes().sum())
        return while_generated(samples, samples * self.features)

    def _sizes(self) -> Ints:
        if self.per_device is not None:
            return np.full(self.devices, self.per_device)
        draw = Keys(self.seed, "leaf_synthetic/sizes").generator()
        return np.minimum(50 + draw.lognormal(4, 2, self.devices).astype(np.int64), self.most)

    def _models(self, block: int, devices: int) -> tuple[Reals, Reals, Reals]:
        """Weights ``[B, F, C]``, biases ``[B, C]`` and input centres ``[B, F]`` of a block of
        devices.
        """
        if self.iid:
            return self._common_model(devices)
        draw, count = Keys(self.seed, "leaf_synthetic/models").generator(block), devices
        # u is drawn first and scaled afterwards, so that the other draws are the same for every α,
        # β and per_class.
        mean = self.alpha * draw.standard_normal((count, self.classes))
        mean = mean if self.per_class else np.broadcast_to(mean[:, :1], mean.shape)
        weight = mean[:, None, :] + draw.standard_normal((count, self.features, self.classes))
        bias = mean + draw.standard_normal((count, self.classes))
        centre = self.beta * draw.standard_normal((count, 1)) + draw.standard_normal(
            (count, self.features)
        )
        return weight, bias, centre

    def _common_model(self, devices: int) -> tuple[Reals, Reals, Reals]:
        """The common model and the centre 0 of Synthetic-IID, repeated for each device."""
        draw = Keys(self.seed, "leaf_synthetic/models").generator(0)
        weight = draw.standard_normal((1, self.features, self.classes))
        bias = draw.standard_normal((1, self.classes))
        centre = np.zeros((1, self.features))
        return tuple(np.repeat(part, devices, axis=0) for part in (weight, bias, centre))  # type: ignore[return-value]


@dataclass(eq=False)
class Gaussian(Source):
    """A mixture of ``classes`` unit Gaussians: ``x | (c, device i) ~ N(μ_c + h·δ_ic, I)``, labels
    uniform.

    The centres ``μ_c`` lie in orthogonal random directions at pairwise distance ``separation`` (in
    random, not orthogonal, ones when there are more classes than features); ``δ_ic ~ N(0, I)`` is
    drawn per device and class and ``h = heterogeneity``. With two classes and h = 0 the best
    possible accuracy is Φ(separation / 2).
    """

    devices: int
    classes: int = 10
    features: int = 20
    separation: float = 4.0
    heterogeneity: float = 0.0
    per_device: int = 100
    scale: Scale = "none"
    test: float = 0.2
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        number("classes", self.classes, 2, 1e4)
        number("separation", self.separation, 0, 1e6)
        number("heterogeneity", self.heterogeneity, 0, 1e6)
        _check_sizes(self.devices, self.features, self.per_device)
        _check_classes(self.classes, self.features)

    def load(self) -> Dataset:
        centre = self._centres()
        x = np.empty((self.devices * self.per_device, self.features), np.float32)
        y = np.empty(len(x), np.int64)
        for block, devices in enumerate(
            _blocks(self.devices, self.features * (self.classes + self.per_device))
        ):
            draw = Keys(self.seed, "gaussian/samples").generator(block)
            rows = slice(devices[0] * self.per_device, (devices[-1] + 1) * self.per_device)
            y[rows] = label = draw.integers(self.classes, size=rows.stop - rows.start)
            noise = draw.standard_normal((len(label), self.features))
            delta = draw.standard_normal((len(devices), self.classes, self.features))
            device = np.repeat(np.arange(len(devices)), self.per_device)
            x[rows] = centre[label] + self.heterogeneity * delta[device, label] + noise
        owner = np.repeat(np.arange(self.devices), self.per_device)
        samples = Samples(x, y, self.classes, owner=owner)
        return prepare(
            samples, self.seed, test=self.test, validation=self.validation, scale=self.scale
        )

    def loading(self) -> int:
        samples = self.devices * self.per_device
        return while_generated(samples, samples * self.features)

    def _centres(self) -> Reals:
        direction = (
            Keys(self.seed, "gaussian/centres")
            .generator()
            .standard_normal((self.features, self.classes))
        )
        if self.classes <= self.features:
            direction, _ = np.linalg.qr(direction)
        else:
            direction /= np.linalg.norm(direction, axis=0)
        return np.asarray(direction.T * self.separation / math.sqrt(2))


@dataclass(eq=False)
class LinearRegression(Source):
    """Noisy linear targets ``[S, 1]``: on device i, ``y = x·(w + h·d_i) + noise·ε`` with ``x ~ N(0,
    I)``.

    ``w`` has length 1 and ``d_i ~ N(0, I / features)``, ``h = heterogeneity``. With h = 0 the best
    possible R² is ``1 / (1 + noise²)``.
    """

    devices: int
    features: int = 10
    noise: float = 0.1
    heterogeneity: float = 0.0
    per_device: int = 100
    test: float = 0.2
    validation: float = 0.1
    seed: int = 0
    target_scale: TargetScale = "none"

    def __post_init__(self) -> None:
        number("noise", self.noise, 0, 1e6)
        number("heterogeneity", self.heterogeneity, 0, 1e6)
        _check_sizes(self.devices, self.features, self.per_device)

    def load(self) -> Dataset:
        w = Keys(self.seed, "linear_regression/weights").generator().standard_normal(self.features)
        w /= np.linalg.norm(w)
        x = np.empty((self.devices * self.per_device, self.features), np.float32)
        y = np.empty((len(x), 1), np.float32)
        for block, devices in enumerate(_blocks(self.devices, self.features * self.per_device)):
            draw = Keys(self.seed, "linear_regression/samples").generator(block)
            rows = slice(devices[0] * self.per_device, (devices[-1] + 1) * self.per_device)
            x[rows] = inputs = draw.standard_normal((rows.stop - rows.start, self.features))
            delta = draw.standard_normal((len(devices), self.features)) / math.sqrt(self.features)
            own = np.repeat(w + self.heterogeneity * delta, self.per_device, axis=0)
            y[rows, 0] = (inputs * own).sum(axis=1) + self.noise * draw.standard_normal(len(inputs))
        owner = np.repeat(np.arange(self.devices), self.per_device)
        samples = Samples(x, y, 0, owner=owner)
        return prepare(
            samples,
            self.seed,
            test=self.test,
            validation=self.validation,
            target_scale=self.target_scale,
        )

    def loading(self) -> int:
        samples = self.devices * self.per_device
        return while_generated(samples, samples * self.features)


def _check_sizes(devices: int, features: int, per_device: int | None) -> None:
    """Refuse samples without features, fewer than four samples a device (none might be left to
    train on), and more than fit into memory. ``per_device`` is None if the numbers are drawn."""
    number("features", features, 1, 1e6)
    if per_device is not None:
        number("per_device", per_device, 4)
        room("per_device", per_device, devices * per_device, features)


def _check_classes(classes: int, features: int) -> None:
    """Refuse models or centres of a device that do not fit into memory."""
    room("classes", classes, classes, features, each=8, what=("classes", "features"))


def _blocks(devices: int, each: int) -> Iterator[Ints]:
    """Blocks of consecutive devices, small enough that a block's models and samples (up to ``each``
    numbers a device) take some tens of MB.
    """
    block = max(1, CHUNK // each)
    for start in range(0, devices, block):
        yield np.arange(start, min(start + block, devices))
