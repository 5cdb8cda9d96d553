"""Fleets: the devices' hardware, that is how fast they compute and send, their memory, and the
energy that they take.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from swarm.common.errors import ConfigError
from swarm.common.plugin import returned, shape_of
from swarm.common.ranges import number
from swarm.common.rng import Keys
from swarm.communication.network.base import Floats, Ints
from swarm.config.explain import describe, shown


@dataclass(frozen=True)
class Hardware:
    """The hardware of each device, ``[N]`` each.

    Attributes:
        flops: The sustained speed, in FLOP/s.
        memory: The memory, in bytes.
        uplink: The rate of sending, in bit/s.
        downlink: The rate of receiving, in bit/s.
        active: The power drawn while it learns, in W.
        idle: The power drawn while it is on without learning, in W.
        radio_send: The energy to send a byte, in J.
        radio_receive: The energy to receive a byte, in J.
    """

    flops: Floats
    memory: Floats
    uplink: Floats
    downlink: Floats
    active: Floats
    idle: Floats
    radio_send: Floats
    radio_receive: Floats


Sharing = Literal["uplink", "max_min"]
FIGURES = tuple(field.name for field in fields(Hardware))
ABOVE = ("flops", "memory", "uplink", "downlink")  # must be above 0, as they are divided by


class Fleet(ABC):
    """The hardware of a swarm.

    In each round a random fraction ``stragglers`` of the devices is ``slowdown`` times slower.
    ``sharing`` says which messages of a round share bandwidth: those of one sender, which divides
    its ``uplink`` evenly, or all that meet on any device's line, at ``max_min`` fair rates.
    Raises ``ConfigError`` unless ``stragglers`` lies in [0, 1] and ``slowdown`` is at least 1.
    """

    file_options: ClassVar[tuple[str, ...]] = ("path",)
    """The parameters that name a file: a run goes on only while each holds what it did."""
    fair = False

    def __init__(
        self, seed: int, stragglers: float, slowdown: float, sharing: Sharing = "uplink"
    ) -> None:
        number("stragglers", stragglers, 0, 1)
        number("slowdown", slowdown, 1)
        self.fair = sharing == "max_min"
        self.keys, self.stragglers, self.slowdown = (
            Keys(seed, "network.stragglers"),
            stragglers,
            slowdown,
        )

    @property
    @abstractmethod
    def hardware(self) -> Hardware | None:
        """The hardware of each device; None if computing takes neither time nor energy."""

    def kind(self, device: int) -> str | None:
        """The kind of terminal that ``device`` is; None where kinds have no names."""
        return None

    def slower(self, round: int, devices: int) -> Floats:
        """Return the factor by which each device is slower in ``round``, ``[N]``."""
        if not self.stragglers or self.slowdown == 1:
            return np.ones(devices)
        late = self.keys.uniform(np.arange(devices), round, 1)[:, 0] < self.stragglers
        return np.where(late, self.slowdown, 1.0)


def hardware_of(fleet: Fleet, devices: int) -> Hardware | None:
    """Return ``fleet.hardware``.

    Raises :class:`ConfigError` unless each figure has a number above 0 for each device; power and
    radio may be 0.
    """
    found = fleet.hardware
    if found is None:
        return None
    if not isinstance(found, Hardware):
        raise returned(
            "fleet", fleet, "hardware", f"is {shape_of(found)}", "a Hardware is needed, or None"
        )
    for name in FIGURES:
        each_N = getattr(found, name)
        if (
            not isinstance(each_N, np.ndarray)
            or each_N.shape != (devices,)
            or each_N.dtype.kind != "f"
        ):
            needed = f"floating-point numbers of shape [{devices}] are needed"
            raise returned("fleet", fleet, "hardware", f"has {shape_of(each_N)} as {name}", needed)
        if (
            not np.isfinite(each_N).all()
            or (each_N < 0).any()
            or (name in ABOVE and not each_N.all())
        ):
            needed = f"numbers {'above' if name in ABOVE else 'of at least'} 0 are needed"
            raise returned(
                "fleet", fleet, "hardware", f"has {each_N.min():g} as the least {name}", needed
            )
    return found


def hardware_like(devices: int, figures: Mapping[str, float | Floats]) -> Hardware:
    """Return the hardware of devices that have the same of each of the ``figures`` of
    :class:`Hardware`, or one each, ``[N]``.

    Raises :class:`ConfigError` for a figure of all that is out of range.
    """
    for name in FIGURES:
        if not isinstance(figures[name], np.ndarray):
            _check(name, float(figures[name]))
    return Hardware(**{name: np.full(devices, figures[name], np.float64) for name in FIGURES})


class NoFleet(Fleet):
    """No hardware: a round takes a tick, and energy is not counted."""

    hardware = None

    def __init__(self) -> None:
        super().__init__(0, 0.0, 1.0)


class UniformFleet(Fleet):
    """All devices have the same hardware, by the figures of :class:`Hardware`.

    Raises ``ConfigError`` for figures that are not above 0; power and radio may be 0.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        flops: float,
        memory: float,
        uplink: float,
        downlink: float,
        active: float,
        idle: float,
        radio_send: float,
        radio_receive: float,
        stragglers: float = 0.0,
        slowdown: float = 1.0,
        sharing: Sharing = "uplink",
    ) -> None:
        super().__init__(seed, stragglers, slowdown, sharing)
        each = (flops, memory, uplink, downlink, active, idle, radio_send, radio_receive)
        self._hardware = hardware_like(devices, dict(zip(FIGURES, each, strict=True)))

    @property
    def hardware(self) -> Hardware:
        return self._hardware


class MixedFleet(Fleet):
    """Devices of several classes, each with its ``share`` of the devices and the figures of
    :class:`Hardware`.

    The class of each device is drawn from the seed; the numbers of devices are the shares rounded
    by largest remainder, so that they add up. Raises ``ConfigError`` for shares that do not sum to
    one, and for missing, unknown or impossible figures.
    """

    def __init__(
        self,
        devices: int,
        seed: int,
        classes: dict[str, Any],
        stragglers: float = 0.0,
        slowdown: float = 1.0,
        sharing: Sharing = "uplink",
    ) -> None:
        super().__init__(seed, stragglers, slowdown, sharing)
        for name, figures in classes.items():
            _check_class(name, figures)
        share_C = np.array([figures["share"] for figures in classes.values()])
        if not len(share_C) or not math.isclose(share_C.sum(), 1.0, abs_tol=1e-6):
            raise ConfigError(
                "classes",
                dict.fromkeys(classes, "…"),
                f"shares must sum to 1, not {share_C.sum():g}",
            )
        count_C = np.floor(share_C * devices).astype(np.int64)
        rest = np.argsort(count_C - share_C * devices, kind="stable")[: devices - count_C.sum()]
        count_C[rest] += 1
        self.names = list(classes)
        self.class_N: Ints = np.repeat(np.arange(len(count_C)), count_C)
        self.class_N = self.class_N[Keys(seed, "network.fleet").generator().permutation(devices)]
        table = {
            name: np.array([figures[name] for figures in classes.values()], float)
            for name in FIGURES
        }
        self._hardware = Hardware(**{name: values[self.class_N] for name, values in table.items()})

    def kind(self, device: int) -> str:
        return self.names[int(self.class_N[device])]

    @property
    def hardware(self) -> Hardware:
        return self._hardware


def _check(name: str, value: float) -> None:
    number(name, value, 0, open_low=name.rpartition(".")[2] in ABOVE)


def _check_class(name: str, figures: Any) -> None:
    needed = ("share", *FIGURES)
    if not isinstance(figures, Mapping):
        raise ConfigError(
            f"classes.{name}", shown(figures), f"must be a section with {', '.join(needed)}"
        )
    if unknown := [key for key in figures if key not in needed]:
        raise ConfigError(
            f"classes.{name}.{unknown[0]}",
            figures[unknown[0]],
            f"no such figure; valid: {', '.join(needed)}",
        )
    if missing := [key for key in needed if key not in figures]:
        raise ConfigError(
            f"classes.{name}.{missing[0]}", "???", f"is missing; a class needs {', '.join(needed)}"
        )
    for key in needed:
        if isinstance(figures[key], bool) or not isinstance(figures[key], int | float):
            raise ConfigError(
                f"classes.{name}.{key}", shown(figures[key]), f"must be {describe(float)}"
            )
    number(f"classes.{name}.share", figures["share"], 0, 1)
    for key in FIGURES:
        _check(f"classes.{name}.{key}", figures[key])
