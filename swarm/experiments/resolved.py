"""A configuration resolved once, at the edge: typed, its engine built, every ``auto`` decided.

What ``auto`` stands for is decided as early as it can be; the table "Resolve once" of
docs/architecture.md says when and by which function. The functions here that return settings
(:func:`decided`, ``with_…``) put a decision in the place of the word.

A run folder records the settings of :class:`Resolved`, which still say ``auto`` where the user did.
The settings that an experiment is built from have no ``auto`` as loss, noise or learning rate.
``mixing=auto`` is never replaced: it is a rule that chooses the weights of each round's graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attack
from swarm.communication.topology.base import Topology, graph_of
from swarm.communication.topology.graph import Graph
from swarm.config.build import build, class_of, takes
from swarm.config.choices import choice, choices_as_typed
from swarm.config.settings import Settings
from swarm.config.settings.sections import MEMORY, TABLE
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.experiments.device_table import take_by_table
from swarm.experiments.runs.scenario import AnyScenario, Arm, Scenario
from swarm.learning.models.base import ReadsFiles
from swarm.learning.privacy.mechanism import LEAST_NOISE, MOST_NOISE
from swarm.learning.update.policy import UpdatePolicy
from swarm.simulation.engine.base import Engine
from swarm.simulation.experiment import RunSpec
from swarm.simulation.experiment.cohorts.by_memory import room_of, take_by_memory
from swarm.simulation.experiment.cohorts.members import listed
from swarm.simulation.experiment.early_stopping import without_cohort

LRS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""The learning rates that ``optimizer.lr=auto`` chooses from, unless ``lr_search.lrs`` lists
others."""
NOISE = "privacy.noise_multiplier"


@dataclass(frozen=True)
class Resolved:
    """A parsed configuration with the two parts that every command needs built: engine and
    scenario.

    ``settings`` are those that a run folder records, with the block size that the engine needs.
    ``engine`` runs all arms, one after the other; it is built once, here. ``noise`` has the noise
    multipliers of a run that is prepared once more, by the name of an arm and the number of its
    variant: they stay what they were when more rounds follow.
    """

    settings: Settings
    engine: Engine
    scenario: AnyScenario
    noise: Mapping[str, Mapping[str, float]] = field(default_factory=dict, kw_only=True)


def resolve(settings: Settings) -> Resolved:
    """Build the engine and the scenario of ``settings``, and decide the block size.

    Raises :class:`ConfigError` for an engine or a scenario that cannot be built, and for a
    ``preset`` beside a scenario that is one run.
    """
    with choices_as_typed(settings.plug_ins()):
        engine = _engine(settings)
        scenario = build(
            settings.scenario, AnyScenario, "scenario", settings.plugins, preset=settings.preset
        )
    if isinstance(scenario, Scenario) and settings.preset is not None:
        valid = (
            f"is for scenarios that judge claims, and {choice('scenario', settings.scenario)} is"
            " one run of the size that you give it; preset=null"
        )
        raise ConfigError("preset", settings.preset, valid)
    with choices_as_typed(settings.plug_ins()):
        chosen = scenario.decided(settings) if isinstance(scenario, Scenario) else settings
        chosen = _with_hashes(chosen)
    return Resolved(_with_block(chosen, engine.block), engine, scenario)


def _engine(settings: Settings) -> Engine:
    """Build the engine; one that sets its block size itself need not have the option ``block``."""
    node, plugins = settings.engine, settings.plugins
    if "block" not in node or takes("block", node, Engine, "engine", plugins):
        return build(node, Engine, "engine", plugins)
    options = {key: value for key, value in node.items() if key != "block"}
    engine = build(options, Engine, "engine", plugins)
    if engine.block != node["block"]:
        valid = f"must be {engine.block}, the block size that this engine sets itself"
        raise ConfigError("engine.block", node["block"], valid)
    return engine


def _with_hashes(settings: Settings) -> Settings:
    """``settings`` with the hashes of the files that the models of all devices read."""

    def hashed(model: dict[str, Any], key: str) -> dict[str, Any]:
        kind = class_of(model, nn.Module, key, settings.plugins)
        if not issubclass(kind, ReadsFiles):
            return model
        try:
            return kind.with_hashes(model)
        except ConfigError as error:
            raise error.under(key) from None

    found = {
        name: cohort.model_copy(update={"model": hashed(cohort.model, f"cohorts.{name}.model")})
        for name, cohort in settings.cohorts.items()
    }
    return settings.model_copy(update={"model": hashed(settings.model, "model"), "cohorts": found})


def _with_block(settings: Settings, block: object) -> Settings:
    """``settings`` with the block size that the engine needs, as results depend on it."""
    if block == settings.engine.get("block", "auto"):
        return settings
    return settings.model_copy(update={"engine": {**settings.engine, "block": block}})


def decided(settings: Settings, dataset: Dataset) -> Settings:
    """``settings`` with the loss that ``train.loss=auto`` stands for with these data."""
    if settings.train.loss != "auto":
        return settings
    loss = "cross_entropy" if dataset.classes else "mse"
    return settings.model_copy(update={"train": settings.train.model_copy(update={"loss": loss})})


def candidate_rates(settings: Settings) -> tuple[float, ...]:
    """The learning rates that an arm with these settings chooses from: the given one, or those of
    the grid if it is ``auto``, each once."""
    lr = settings.optimizer["lr"]
    return tuple(dict.fromkeys(settings.lr_search.lrs or LRS)) if lr == "auto" else (lr,)


def with_cohorts(
    settings: Settings, data: Dataset, split: DeviceSplit, policy: UpdatePolicy
) -> Settings:
    """``settings`` whose cohorts list their devices, so that they are the same ones in all arms,
    also in those without the graph or the memory by which they were found."""

    def topology() -> Topology:
        owners = split.names if split.owned else None
        context = {"devices": settings.devices, "seed": settings.seed, "owner_names": owners}
        made: Topology = build(settings.topology, Topology, "topology", settings.plugins, **context)
        return made

    def graph() -> Graph:
        made = topology()
        return graph_of(made, made.phase(1), settings.devices)

    def by_table(number_N: npt.NDArray[np.int64]) -> None:
        take_by_table(settings, split.names or topology().node_names, number_N)

    def by_memory(number_N: npt.NDArray[np.int64]) -> None:
        chosen = to_plan_with(with_lr(decided(settings, data), candidate_rates(settings)[0]))
        take_by_memory(settings, room_of(RunSpec(chosen, data, split), policy), number_N)

    return listed(settings, graph, {TABLE: by_table, MEMORY: by_memory})


def without_cohorts(arm: Arm) -> Arm:
    """An arm whose devices all have the run's own model."""
    plain = [each.model_copy(update={"cohorts": {}}) for each in arm.variants]
    variants = [without_cohort(each) for each in plain]
    return replace(arm, variants=tuple(variants))


def with_hostile(settings: Settings, hostile_N: npt.NDArray[np.bool_] | None) -> Settings:
    """``settings`` that list the hostile devices, so that they are the same ones in all arms,
    also in those without the graph by which they were found.

    Raises :class:`ConfigError` for an attack that cannot be told which they are."""
    if hostile_N is None:
        return settings
    for name in ("devices", "placement"):
        if not takes(name, settings.attack, Attack, "attack", settings.plugins):
            valid = f"needs a parameter {name}: its constructor takes devices and placement, by"
            valid += " which all arms have the same hostile devices, and hands them to Attack's"
            raise ConfigError("attack", settings.attack["_target_"], valid)
    listed = {"devices": np.flatnonzero(hostile_N).tolist(), "placement": "random"}
    return settings.model_copy(update={"attack": {**settings.attack, **listed}})


def with_lr(settings: Settings, lr: float) -> Settings:
    """``settings`` with the learning rate ``lr``."""
    return settings.model_copy(update={"optimizer": {**settings.optimizer, "lr": float(lr)}})


def seeks_noise(settings: Settings) -> bool:
    """Whether the noise of these settings is to be found."""
    return bool(settings.privacy.get("noise_multiplier") == "auto")


def with_noise(settings: Settings, noise_multiplier: float) -> Settings:
    """``settings`` with this noise multiplier, where theirs is ``auto``."""
    if not seeks_noise(settings):
        return settings
    found = {**settings.privacy, "noise_multiplier": float(noise_multiplier)}
    return settings.model_copy(update={"privacy": found})


def to_plan_with(settings: Settings) -> Settings:
    """``settings`` that an experiment can be built from before its noise is known: with the most
    noise that there can be.

    Raises :class:`ConfigError` where noise has nothing to be found from, and for another word.
    """
    given = settings.privacy.get("noise_multiplier")
    if isinstance(given, str) and given != "auto":
        valid = f"must be 0, a number from {LEAST_NOISE:g} to {MOST_NOISE:g}, or auto"
        raise ConfigError(NOISE, given, valid)
    if not seeks_noise(settings):
        return settings
    needed = {
        "epsilon": f"must be the ε that each device may spend by the last round with {NOISE}=auto",
        "clip_norm": f"must be a norm with {NOISE}=auto: noise hides what clipping has bounded",
    }
    for key, valid in needed.items():
        if key in settings.privacy and settings.privacy[key] is None:
            raise ConfigError(f"privacy.{key}", None, valid)
    return with_noise(settings, MOST_NOISE)
