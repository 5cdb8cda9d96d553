"""Tries a run's plug-ins before the start: first a step against plain PyTorch, then short rounds by
the run's own code.

A user's code may fail in any way, often only where it is used. So a run with plug-ins begins with
up to two rounds of one local step each, in this process, whose results are thrown away. Metrics of
the user's own are then measured once as they are after the last round, on a block of devices. These
rounds are played twice, with new parts but the update policy, which is built once for the whole
run, and have to come to the same numbers.
"""

from __future__ import annotations

import copy
import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from swarm.common.arrays import arrays_of
from swarm.common.errors import ConfigError
from swarm.common.plugin import blamed, entry_of, is_ours, is_plugin, of_torch, without_global_draws
from swarm.common.system.machine import ran_out_of_memory
from swarm.config.composing.arguments import TARGET
from swarm.learning.buffers import copied
from swarm.learning.check_learning import check_learning
from swarm.learning.kernels.kernel import Kernel
from swarm.learning.kernels.module import kernel_for
from swarm.learning.optim.optimizer import check_step
from swarm.simulation.counters import Counters
from swarm.simulation.engine.local import LocalEngine
from swarm.simulation.experiment import Experiment
from swarm.simulation.measure import SwarmEvaluator
from swarm.simulation.metrics.chosen import Metrics

ROUNDS, SAMPLES = 2, 2
# what is done before there are rounds, or beside them
UNTRIED = ("data", "partition", "drift", "labels", "scenario", "engine", "tracker")
SUMMED = 256 << 20  # bytes of an array of which a checksum is taken, which takes a quarter second


class Tried(NamedTuple):
    """What has come of the first rounds: checksums of the rows, and the values of the metrics that
    are plug-ins."""

    rows: list[int]
    values: dict[str, str]


def probe(e: Experiment) -> None:
    """Try the plug-ins of the arm ``e``.

    Raises :class:`ConfigError`, one sentence, for a plug-in that fails, and for an error that torch
    raises about a user's model. Any other exception is a bug of ours and keeps its traceback.

    ``e`` must not be run afterwards, as its plug-ins may remember that they were called.
    """
    nodes = [e.settings.model, *(cohort.model for cohort in e.settings.cohorts.values())]
    from_torch = any(str(node.get("_target_")).startswith("torch.") for node in nodes)
    if not e.settings.plugins and not from_torch:
        return
    threads, written, tries = torch.get_num_threads(), _written(e), list[Tried]()
    try:
        with torch.random.fork_rng(devices=[]), blamed(2):
            if e.communication.learns:
                _try_the_model(e)
                if is_plugin(e.model.optimizer):
                    check_step(e.model.optimizer, e.dtype)
            tries.append(without_global_draws(lambda: _play(e)))
            if e.settings.plugins and e.device.type == "cpu":
                tries.append(without_global_draws(lambda: _again(e)))
    except Exception as error:
        if (
            ran_out_of_memory(error)
            or all(is_ours(model.module()) for model in e.model.each)
            or not of_torch(error, "swarm.learning")
        ):
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        valid = f"a round tried before the start fails with {said}; SWARM_DEBUG=1 shows where"
        raise ConfigError("model", e.settings.model["_target_"], valid) from error
    finally:
        torch.set_num_threads(threads)
    if _written(e) != written:
        valid = "one of them writes into the run's data set by a tensor on its memory, which torch"
        valid += " cannot forbid; it is for all to read, so change a copy (tensor.clone())"
        raise ConfigError("plugins", e.settings.plugins, valid)
    _require_same(e, tries[0], tries[-1])


def _written(e: Experiment) -> list[int]:
    """Checksums of the run's arrays of samples and devices, or of the first part of large ones."""
    data, split = arrays_of(e.data.dataset), arrays_of(e.data.split)
    held = [each for _, each in (*data, *split)]
    parts = (each[: max(1, SUMMED * len(each) // max(each.nbytes, 1))] for each in held)
    return [zlib.crc32(np.ascontiguousarray(part).data) for part in parts]


def _try_the_model(e: Experiment) -> None:
    inputs, target_Cb = _samples(e)
    for model, learner in zip(e.model.each, e.learner.each, strict=True):
        _try_one(e, model.template, learner.kernel, inputs, target_Cb)


def _try_one(
    e: Experiment, module: nn.Module, kernel: Kernel, inputs: Tensor, target_Cb: Tensor
) -> None:
    if kernel.noisy:  # which is left out, as two computations would not draw the same
        module = copied(module).eval()
        kernel = kernel_for(module, e.model.loss, e.model.sample(), e.blocks.size)
    try:
        check_learning(module, kernel, e.model.loss, inputs, target_Cb)
    except ConfigError as error:
        raise error.under("model") from error


def _samples(e: Experiment) -> tuple[Tensor, Tensor]:
    """A few training samples ``[b, *features]`` for the kernel, and their targets ``[C, b]``."""
    data = e.data.dataset
    ids = data.train[:SAMPLES]
    x, y = torch.as_tensor(data.x[ids]), torch.as_tensor(data.y[ids])
    y = y.flatten() if data.classes else y.to(e.dtype).reshape(len(y), -1)
    x = x.to(e.device, e.dtype if x.is_floating_point() else x.dtype)
    return x, e.model.loss.encode(y.to(e.device), e.data.outputs, e.dtype)


def _require_same(e: Experiment, one: Tried, other: Tried) -> None:
    """Refuse plug-ins with which the first rounds come to other numbers the second time, and warn
    of metrics that have other values."""
    if one.rows != other.rows:
        parts = _own_parts({**e.settings.model_dump(), "metrics": []})
        suspects = list(dict.fromkeys(parts))
        key, path = suspects[0] if len(suspects) == 1 else ("plugins", e.settings.plugins)
        named = ", ".join(f"{key}={path}" for key, path in suspects)
        who = "it" if len(suspects) == 1 else f"one of {named or 'the plug-ins'}"
        raise ConfigError(
            key,
            path,
            f"the first rounds, tried twice with one seed, come to different numbers, so that {who}"
            " draws without a seed, or uses a clock or what an earlier try has left behind; draw"
            " from the seed or the keys that constructors and methods get, as by"
            ' swarm.common.rng.Keys(seed, "…")',
        )
    if infinite := [key for key, value in one.values.items() if value in ("inf", "-inf")]:
        warnings.warn(
            f"metrics: {', '.join(infinite)} had no finite value in the first rounds, which were"
            " tried; a record has null in the place of such a number",
            stacklevel=2,
        )
    timed = {column.key for column in e.metrics.columns if column.timed}
    differ = [key for key in one.values if one.values[key] != other.values.get(key)]
    if differ := [key for key in differ if key not in timed]:
        warnings.warn(
            f"metrics: {', '.join(differ)} had other values when the first rounds were tried again"
            " with the same seed and came to the same models, so a run that is repeated will not"
            " have the same figures; the column of a time that is measured says timed=True, and"
            ' any other metric draws from swarm.common.rng.Keys(seed, "…")',
            stacklevel=2,
        )


def _own_parts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The parts of the user's own that short rounds use: the section, and the ``_target_``."""
    if isinstance(node, Mapping):
        path = str(node.get(TARGET, ""))
        if entry_of(path) is not None:
            yield key, path
        for name, each in node.items():
            if key or name not in UNTRIED:
                yield from _own_parts(each, key or str(name))
    elif isinstance(node, list | tuple):
        for each in node:
            yield from _own_parts(each, key)


def _play(e: Experiment) -> Tried:
    """Play the first rounds, of one step each, and evaluate a device; measure the metrics that are
    plug-ins."""
    short = copy.copy(e)
    short.data, short.model = copy.copy(e.data), copy.copy(e.model)
    short.data.local_steps_N = np.minimum(e.data.local_steps_N, 1)
    short.learner = e.learner.uncompiled()
    short.metrics = Metrics(tuple(m for m in e.metrics.all if is_plugin(m)), e.metrics.called)
    with LocalEngine() as engine:
        try:
            engine.start(short)
            for _ in engine.advance(min(ROUNDS, e.settings.rounds)):
                pass
            engine.evaluate(e.data.dataset.test[:SAMPLES], np.arange(1))
            rows = [_checksum(each) for each in engine.current().values()]
            return Tried(rows, _measure(short, engine) if short.metrics.all else {})
        finally:
            engine.stop()


def _again(e: Experiment) -> Tried:
    """:func:`_play` with new parts but the policy, which the run itself has, too."""
    with warnings.catch_warnings(action="ignore"):  # each was said the first time
        return _play(Experiment(e.spec, e.data.policy))


def _checksum(rows: Tensor) -> int:
    return zlib.crc32(rows.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _measure(e: Experiment, engine: LocalEngine) -> dict[str, str]:
    """Measure one block of devices that count, as they are after the last round. Returns the
    values as text, in which NaN is NaN."""
    evaluator, rounds = SwarmEvaluator(e, engine), e.settings.rounds
    member_N, blocks = evaluator.members(rounds), evaluator.evaluated_blocks
    counted = [block for block in blocks if member_N[e.blocks.devices_of(block)].any()]
    if not counted:
        return {}
    evaluator.evaluated_blocks = np.array(counted[:1])
    values, own = evaluator(rounds, Counters.zero(e.settings.devices))
    many = {} if own is None else {key: np.asarray(each).tolist() for key, each in own.items()}
    return {key: repr(each) for key, each in {**many, **values}.items()}
