"""Memory is stated before it is used; where it cannot be enough the run is refused, and where it runs out all the same one
sentence says what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from swarm.engine.base import Engine
from swarm.errors import ConfigError, SwarmError
from swarm.experiment import Experiment
from swarm.footprint import Footprint, footprint
from swarm.machine import available_bytes, ran_out_of_memory


class MemoryRanOutError(SwarmError):
    """There was no more memory, whatever had been expected. The run can be resumed from its last checkpoint."""


def expected(experiment: Experiment, engine: Engine) -> Footprint:
    """What an experiment will take with this engine."""
    return footprint(experiment).with_parts(engine.own_memory(experiment))


def require_memory(experiment: Experiment, engine: Engine) -> Footprint:
    """What will be needed. Raises :class:`ConfigError` for a swarm that cannot fit, naming how many devices would."""
    needed = expected(experiment, engine)
    there = available_bytes() if experiment.device.type == "cpu" else None
    if there is None or needed.to_come <= there:
        return needed
    n, links = experiment.settings.devices, experiment.most_links
    text = f"would need about {_size(needed.to_come)}"
    if links > 2:
        most = max(2, int(links * there / needed.to_come))
        raise ConfigError(
            "topology",
            experiment.exchanges.topology_name,
            f"{text}, as {type(experiment.protocol).__name__} keeps memory for every link and one device has {links:,} of "
            f"them; {_size(there)} are free, enough for about {most:,} links a device at most",
        )
    fits = needed.fitting(n, there)
    raise ConfigError(
        "devices",
        n,
        f"{text}, {_size(needed.largest.bytes)} of it for {needed.largest.name}, and {_size(there)} are free; at most {fits:,} "
        f"devices fit{_or_less(needed)}",
    )


def stated(needed: Footprint) -> str:
    """The line that a run begins with."""
    there = available_bytes()
    free = "" if there is None else f"; {_size(there)} are free"
    return f"memory: about {_size(needed.total)}, {_size(needed.largest.bytes)} of it for {needed.largest.name}{free}"


@contextmanager
def running_out(where: str, needed: Footprint | None = None, devices: int = 0) -> Iterator[None]:
    """Turns whatever says that there is no more memory into a :class:`MemoryRanOutError`. ``where`` ends the clause "memory ran
    out …"; ``needed`` is what had been expected for so many ``devices``."""
    try:
        yield
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise MemoryRanOutError(f"memory ran out {where}{_fitting(needed, devices)}") from error


def _fitting(needed: Footprint | None, devices: int) -> str:
    """What would do with less; half of the devices is a guess where nobody knows how much there was."""
    if needed is None:
        return ": fewer or smaller samples (data.*), or a smaller model.*, would do"
    there = available_bytes()
    fits = min(devices - 1, needed.fitting(devices, there or 0))
    fewer = f"at most {fits:,} devices" if fits > 0 else "fewer devices"
    return f": about {_size(needed.total)} were expected to be enough; {fewer} would fit{_or_less(needed)}"


def _or_less(needed: Footprint) -> str:
    return f", or {needed.largest.less}" if needed.largest.less else ""


def _size(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 1 << 30 else f"{size / 2**20:,.0f} MiB"
