"""The parts of a run's memory, and their sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Part:
    """A part of a run's memory.

    Attributes:
        name: What the memory holds, in words.
        bytes: Its size.
        less: The settings that would make it smaller, beside fewer devices.
        grows: Whether it grows with the number of devices.
        there: Whether it is in memory already.
        each: Whether every process that hosts devices has it.
        key: The setting that it grows with, where that is not the number of devices.
        count: The value of that setting.
    """

    name: str
    bytes: int
    less: str = ""
    grows: bool = True
    there: bool = False
    each: bool = False
    key: str = ""
    count: int = 0


@dataclass(frozen=True)
class Footprint:
    """The memory of a run at its peak.

    Attributes:
        parts: What the run takes.
        program: The bytes of the process before it loads or builds anything: Python, its packages,
            and what an earlier run of the process has left.
        loading: The most bytes that are taken while the data are loaded; the parts come later.
    """

    parts: tuple[Part, ...]
    program: int = 0
    loading: int = 0

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.program + max(self.loading, sum(part.bytes for part in self.parts))

    @property
    def to_come(self) -> int:
        """Bytes that are not in memory yet."""
        return sum(part.bytes for part in self.parts if not part.there)

    @property
    def largest(self) -> Part:
        """The largest part."""
        return max(self.parts, key=lambda part: part.bytes)

    @property
    def each(self) -> int:
        """Bytes that every process has for itself."""
        return sum(part.bytes for part in self.parts if part.each)

    def with_parts(self, more: Sequence[Part]) -> Footprint:
        """This footprint with the parts ``more`` added."""
        return replace(self, parts=(*self.parts, *more))

    def fitting(self, devices: int, free: int) -> int:
        """The number of devices that fit into ``free`` bytes, if this is the footprint of
        ``devices`` devices."""
        growing = sum(part.bytes for part in self.parts if part.grows and not part.there)
        return max(0, int((free - self.to_come + growing) * devices // max(growing, 1)))


NOTHING = Footprint(())
