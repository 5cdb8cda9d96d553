"""Estimates a run's memory before it starts: a run that cannot fit is refused, and if memory runs
out later, one sentence says what would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from swarm.common.errors import ConfigError, SwarmError, counted
from swarm.common.plugin import called
from swarm.common.ranges import no_room, size_text
from swarm.common.system.machine import available_bytes, ran_out_of_memory
from swarm.common.system.processes.child import spare_cores
from swarm.config.choices import choice
from swarm.config.settings import Settings
from swarm.simulation.engine.base import Engine
from swarm.simulation.experiment import Experiment
from swarm.simulation.footprint import Footprint, Part, footprint
from swarm.simulation.replicas import most_replicas

ONE_CORE = "a single core (OMP_NUM_THREADS=1)"


class MemoryRanOutError(SwarmError):
    """Memory ran out; the run can be resumed from its last checkpoint."""


def require_memory(experiment: Experiment, engine: Engine, held: int = 0) -> Footprint:
    """The memory that an experiment will take with this engine; the states of ``held`` devices are
    kept beside it while a learning rate is chosen.

    Raises :class:`ConfigError` if it cannot fit; the message names how many actors, links of a
    device, or devices would."""
    swarm = footprint(experiment)
    state = experiment.kept_numbers * experiment.dtype.itemsize
    tries = Part("tries of a learning rate", held * state, "lr_search.method=grid")
    needed = swarm.with_parts([*engine.own_memory(experiment, swarm), *[tries] * (held > 0)])
    there = available_bytes() if experiment.device.type == "cpu" else None
    if there is None or needed.to_come <= there:
        return needed
    raise (
        _other_settings(needed, there)
        or _fewer_links(experiment, needed, there)
        or _fewer_devices(experiment, needed, there)
    )


def with_tries(
    experiment: Experiment,
    engine: Engine,
    rates: Sequence[float],
    variants: int,
    replicated: Callable[[Sequence[float]], Experiment],
) -> tuple[int, Footprint]:
    """How many of the ``rates`` of an arm with so many ``variants`` are tried in one block, as
    ``replicated`` has them, and the most memory that the experiment takes with its tries.

    Raises as :func:`require_memory` does."""
    s, count = experiment.settings, min(len(rates), most_replicas(experiment))
    halving = len(rates) > 1 and s.lr_search.method == "halving"
    held = len(rates) * variants * s.devices if halving else 0
    needed = [require_memory(experiment, engine, held)]
    if count > 1:
        needed.append(require_memory(replicated(rates[:count]), engine, held))
    return count, max(needed, key=lambda each: each.total)


def with_searches(most: Footprint, searches: Sequence[Footprint]) -> tuple[int, Footprint]:
    """How many children may choose learning rates beside the arms, and the memory of the run with
    them.

    ``most`` is the memory of the largest arm, ``searches`` what each search takes. There are no
    more children than fit, and no more than spare cores.
    """
    there = available_bytes()
    sizes = sorted((each.to_come for each in searches), reverse=True)
    for many in range(min(spare_cores(), len(sizes)), 0, -1):
        beside = Part("choosing learning rates beside the arms", sum(sizes[:many]), ONE_CORE)
        needed = most.with_parts([beside])
        if there is None or needed.to_come <= there:
            return many, needed
    return 0, most


def _other_settings(needed: Footprint, there: int) -> ConfigError | None:
    """The error that names a smaller number of something else than devices, such as actors; None
    where that would not be enough.
    """
    for part in needed.parts:
        fits = (
            part.count - -(-(needed.to_come - there) * part.count // max(part.bytes, 1))
            if part.key
            else 0
        )
        if fits > 0:
            what = part.key.rpartition(".")[2]
            need = (
                f"about {size_text(needed.to_come)}, {size_text(part.bytes)} of it for {part.name}"
            )
            return no_room(part.key, part.count, need, there, f"at most {fits:,} {what} would fit")
    return None


def _fewer_links(experiment: Experiment, needed: Footprint, there: int) -> ConfigError | None:
    links = experiment.communication.most_links
    if links <= 2:
        return None
    most = max(2, int(links * there / needed.to_come))
    name = called(experiment.communication.protocol)
    need = (
        f"about {size_text(needed.to_come)}, as {name} keeps memory for every link and one device"
        f" has {links:,} of them"
    )
    fits = f"at most about {counted(most, 'link')} a device would fit"
    return no_room("topology", experiment.communication.messages.topology_name, need, there, fits)


def _fewer_devices(experiment: Experiment, needed: Footprint, there: int) -> ConfigError:
    n, most = experiment.settings.devices, needed.largest
    need = f"about {size_text(needed.to_come)}, {size_text(most.bytes)} of it for {most.name}"
    fitting = needed.fitting(n, there)
    fits = f"at most {counted(fitting, 'device')}" if fitting else "not one device"
    return no_room("devices", n, need, there, f"{fits} would fit{_or_less(needed)}")


def stated(needed: Footprint) -> str:
    """The line about memory that a run begins with."""
    there = available_bytes()
    free = "" if there is None else f"; {size_text(there)} are free"
    most = f"{size_text(needed.largest.bytes)} for {needed.largest.name}"
    if needed.loading > sum(part.bytes for part in needed.parts):
        most = f"{size_text(needed.loading)} for loading the data"
    parts = f"{size_text(needed.program)} of it for Python and its packages and {most}"
    if not needed.program:  # nobody knows on a system without /proc
        parts = f"{most} of it, beside Python and its packages"
    return f"memory: about {size_text(needed.total)}, {parts}{free}"


def require_loading(settings: Settings, bytes_: int | None) -> None:
    """Refuse data that take more than is free while they are loaded; None: nobody knows how much.

    Raises :class:`ConfigError` about ``data``."""
    there = available_bytes()
    if bytes_ is None or there is None or bytes_ <= there:
        return
    need = f"up to {size_text(bytes_)} while they are loaded"
    fits = "fewer or smaller samples would do"
    raise no_room("data", choice("data", settings.data), need, there, fits)


@contextmanager
def running_out(where: str, needed: Footprint | None = None, devices: int = 0) -> Iterator[None]:
    """Turn any error within the block that means that memory ran out into a
    :class:`MemoryRanOutError`.

    ``where`` ends the clause "memory ran out …"; ``needed`` is the memory that was expected for
    ``devices`` devices."""
    try:
        yield
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise MemoryRanOutError(f"memory ran out {where}{_fitting(needed, devices)}") from error


def _fitting(needed: Footprint | None, devices: int) -> str:
    """The end of the message about memory that ran out: what would fit."""
    if needed is None:
        return ": fewer or smaller samples (data.*), or a smaller model.*, would do"
    there = available_bytes()
    fits = min(devices - 1, needed.fitting(devices, there or 0))
    fewer = f"at most {counted(fits, 'device')}" if fits > 0 else "fewer devices"
    return (
        f": about {size_text(needed.total)} were expected to be enough; {fewer} would"
        f" fit{_or_less(needed)}"
    )


def _or_less(needed: Footprint) -> str:
    return f", or {needed.largest.less}" if needed.largest.less else ""
