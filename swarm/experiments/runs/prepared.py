"""A scenario's run, checked: its data dealt, every plug-in of every arm built once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from swarm.common.errors import ConfigError, SwarmError
from swarm.common.names import choices, few
from swarm.common.plugin import blamed, is_plugin, returned
from swarm.common.rng import Keys
from swarm.config.build import as_typed, build, choice
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset, DeviceSplit, Source
from swarm.data.partition import Partition
from swarm.data.stream.drift import Drift, NoDrift
from swarm.data.stream.labelling import AllLabels, LabelOracle
from swarm.data.validation import validate
from swarm.experiments.checks.probe import probe
from swarm.experiments.runs.describe import versions
from swarm.experiments.runs.memory import require_memory, running_out
from swarm.experiments.runs.preflight import (
    require_a_network_that_works,
    require_plain_steps,
    warn_of_what_does_nothing,
)
from swarm.experiments.runs.scenario import Arm, Scenario, arms_of, presentation_of
from swarm.learning.update.policy import UpdatePolicy
from swarm.results.presentation import UNDECLARED, Presentation
from swarm.results.track.base import Tracker
from swarm.simulation.engine.base import Engine
from swarm.simulation.experiment import Experiment, RunSpec
from swarm.simulation.footprint import NOTHING, Footprint

LRS = (0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class PreparedRun:
    """A run that has passed every check; nothing has been written and no device exists yet."""

    settings: Settings
    scenario: Scenario
    dataset: Dataset
    split: DeviceSplit
    arms: tuple[Arm, ...]
    footprint: Footprint = NOTHING  # of the arm that takes the most memory
    presentation: Presentation = UNDECLARED  # of the arms, and of the scenario's own numbers

    @classmethod
    @running_out("before the start, while the data were loaded and the parts of the run built")
    def prepare(cls, settings: Settings) -> PreparedRun:
        """Load the data, build every plug-in of every arm once, and check that it fits into memory.

        Raises :class:`ConfigError` for whatever cannot work.
        """
        with as_typed(settings.plug_ins()):
            return cls._prepared(resolve(settings))

    @classmethod
    def _prepared(cls, settings: Settings) -> PreparedRun:
        s = settings
        context = {"devices": s.devices, "seed": s.seed}
        scenario = build(s.scenario, Scenario, "scenario", s.plugins)
        if s.evaluate.devices is not None and s.evaluate.devices > s.devices:
            raise ConfigError(
                "evaluate.devices",
                s.evaluate.devices,
                f"must be null or at most devices={s.devices}",
            )
        try:
            source = build(s.data, Source, "data", s.plugins, **context)
            dataset = source.load()
            _require_samples(source, "load", dataset)
        except ConfigError as error:
            raise error if error.key.startswith("data.") else error.under("data") from None
        _require_label(s, dataset)
        partition = build(s.partition, Partition, "partition", s.plugins, devices=s.devices)
        try:
            nothing = DeviceSplit.group([], s.devices)
            holdings = (
                partition.split(dataset, Keys(s.seed, "partition")) if scenario.learns else nothing
            )
        except ConfigError as error:
            raise error.under("partition") from None
        dataset, holdings = _streamed(s, dataset, holdings)
        draft = cls(s, scenario, dataset, holdings, ())
        experiment = _built(RunSpec(s, dataset, holdings))
        # in all arms alike, also in those without the graph that they are from
        if holdings.names is None:
            draft = replace(draft, split=replace(holdings, names=experiment.names))
        draft.engine().check(experiment)
        steps = int(experiment.data.local_steps_N.sum())
        arms = arms_of(scenario, s, steps)
        draft = replace(draft, presentation=presentation_of(scenario, arms))
        checked = [draft._checked(arm) for arm in arms]
        most = max((needed for _, needed in checked), key=lambda needed: needed.total)
        study = replace(draft, arms=tuple(arm for arm, _ in checked), footprint=most)
        study.made_tracker(Path(), "check")
        return study

    @property
    def outline(self) -> str:
        """What it would run, in a few words."""
        arms = ", ".join(arm.name for arm in self.arms)
        return f"{self.settings.devices} devices, {self.settings.rounds} rounds; arms {arms}"

    @property
    def names(self) -> dict[str, list[str | None]]:
        """``device_names`` and ``class_names`` for trackers: those that there are, unless there are
        very many.
        """
        found = {
            "device_names": few(self.split.names),
            "class_names": few(self.dataset.class_names),
        }
        return {key: names for key, names in found.items() if names}

    def config(self, arm: Arm, settings: Settings) -> dict[str, Any]:
        """What an arm runs with, for trackers: the settings chosen for it, its name, and the names
        of devices and classes.
        """
        names = self.names
        if arm.pooled:
            names.pop("device_names", None)
        return {"arm": arm.name, **settings.model_dump(), **names}

    def tracker(self, folder: Path, run: str) -> Tracker:
        """The tracker that mirrors the records.

        It never ends a run: one that cannot be made is left out, with a warning.
        """
        try:
            with blamed(), running_out("as the tracker was made"):
                return self.made_tracker(folder, run)
        except SwarmError as error:
            warnings.warn(
                f"{error}; the run goes on without it, and metrics.jsonl is complete", stacklevel=2
            )
            return Tracker()

    def made_tracker(self, folder: Path, run: str) -> Tracker:
        """The same, or the error of one that cannot be made."""
        return tracker_of(self.settings, folder, run, self.names)

    def experiment(self, arm: Arm, settings: Settings) -> Experiment:
        """One variant of an arm, built."""
        s, holdings = self.settings, self.split
        if arm.pooled:
            streams = build(s.update, UpdatePolicy, "update", s.plugins).streams
            holdings = holdings.pooled(Keys(s.seed, "pool"), s.train.batch if streams else None)
        return _built(RunSpec(settings, self.dataset, holdings))

    def _checked(self, arm: Arm) -> tuple[Arm, Footprint]:
        """The arm with those of its variants that can be: a mini-batch of a centralised model may
        be larger than its stream. And the memory that the largest of them takes.

        Raises :class:`ConfigError` where none can.
        """
        kept: list[Settings] = []
        needed: list[Footprint] = []
        wrong: list[ConfigError] = []
        for variant in arm.variants:
            try:
                experiment = self.experiment(arm, variant)
            except ConfigError as error:
                wrong.append(error)
                continue
            needed.append(require_memory(experiment, self.engine()))
            require_plain_steps(experiment)
            probe(experiment)
            require_a_network_that_works(experiment)
            warn_of_what_does_nothing(experiment)
            kept.append(variant)
        if not kept:
            first = wrong[0]
            raise ConfigError(
                first.key, first.value, f"{first.valid} (in the arm {arm.name})"
            ) from first
        for reason in wrong:
            warnings.warn(
                f"the arm {arm.name} does without one of its batch sizes, as {reason}", stacklevel=2
            )
        arm = replace(arm, variants=tuple(kept))
        _require_validation(arm, self.settings, self.dataset)
        return arm, max(needed, key=lambda each: each.total)

    def engine(self) -> Engine:
        """A fresh engine, for all arms one after the other."""
        return build(self.settings.engine, Engine, "engine", self.settings.plugins)


def tracker_of(
    settings: Settings, folder: Path, run: str, names: Mapping[str, list[str | None]] | None = None
) -> Tracker:
    """The tracker of a run, or of a claim, in ``folder``; ``names`` as :attr:`PreparedRun.names`
    has them.
    """
    config = {**settings.model_dump(), **(names or {})}
    context = {"folder": folder, "run": run, "config": config, "versions": versions()}
    return build(settings.tracker, Tracker, "tracker", settings.plugins, **context)


def _built(plan: RunSpec) -> Experiment:
    with as_typed(plan.settings.plug_ins()):
        return Experiment(plan)


def resolve(settings: Settings) -> Settings:
    """With the block size that the engine needs written into the settings: results depend on it, so
    a run's config has it.
    """
    block = build(settings.engine, Engine, "engine", settings.plugins).block
    if block == settings.engine.get("block", "auto"):
        return settings
    return settings.model_copy(update={"engine": {**settings.engine, "block": block}})


def _streamed(s: Settings, dataset: Dataset, holdings: DeviceSplit) -> tuple[Dataset, DeviceSplit]:
    """The data in the order in which devices meet them, with all that changes on the way.

    As they are without streams.
    """
    policy: UpdatePolicy = build(s.update, UpdatePolicy, "update", s.plugins)
    drift: Drift = build(s.drift, Drift, "drift", s.plugins, seed=s.seed)
    labels: LabelOracle = build(s.labels, LabelOracle, "labels", s.plugins, seed=s.seed)
    for key, changes in (
        ("drift", not isinstance(drift, NoDrift)),
        ("labels", not isinstance(labels, AllLabels)),
    ):
        if changes and not policy.streams:
            valid = "needs a stream of samples; update=online, nightly or frozen would do"
            raise ConfigError(key, choice(key, getattr(s, key)), valid)
    if not policy.streams:
        return dataset, holdings
    holdings = holdings.in_order(Keys(s.seed, "order"))
    try:
        drifting = drift.apply(dataset, holdings)
        _require_samples(drift, "apply", drifting, dataset)
    except ConfigError as error:
        raise error.under("drift") from None
    try:
        told = labels.apply(drifting, holdings)
        _require_samples(labels, "apply", told, drifting)
        return told, holdings
    except ConfigError as error:
        raise error.under("labels") from None


def _require_samples(
    maker: object, call: str, made: Dataset, before: Dataset | None = None
) -> None:
    """Refuse data that cannot be used; what was looked at before is not looked at again."""
    if before is not None and made is before:
        return
    try:
        validate(made)
    except ConfigError as error:
        if not is_plugin(maker):
            raise
        section = {Source: "data", Drift: "drift", LabelOracle: "labels"}
        key = next(name for kind, name in section.items() if isinstance(maker, kind))
        raise returned(key, maker, call, "makes data that cannot be used", error.valid) from None


def _require_validation(arm: Arm, settings: Settings, dataset: Dataset) -> None:
    """Refuse an arm that has something to choose on the validation split where that is empty."""
    if len(rates(arm.variants[0])) * len(arm.variants) > 1 and not len(dataset.validation):
        what = "learning rate" if len(arm.variants) == 1 else "learning rate and batch size"
        valid = (
            f"leaves no validation samples, on which the arm {arm.name} chooses its {what}; must be"
            " above 0"
        )
        raise ConfigError("data.validation", settings.data.get("validation"), valid)


def _require_label(settings: Settings, dataset: Dataset) -> None:
    """Refuse ``evaluate.label`` where no test sample has it."""
    label = settings.evaluate.label
    if label is None:
        return
    if not dataset.classes:
        raise ConfigError(
            "evaluate.label", label, "must be null with numeric targets: there are no labels"
        )
    there = np.unique(dataset.y[dataset.test])
    if dataset.class_of(label) not in there:
        which = f"{there[0]:.0f} to {there[-1]:.0f}"
        if dataset.class_names is not None:
            asked = [name if c in there else None for c, name in enumerate(dataset.class_names)]
            which = choices(asked, dataset.classes, label)
        valid = f"must be null or one of the {len(there)} labels of the test samples, {which}"
        raise ConfigError("evaluate.label", label, valid)


def rates(s: Settings) -> list[float]:
    """The learning rates to choose from; a single one where nothing is ever learnt."""
    if s.optimizer.get("lr") != "auto":
        return [s.optimizer["lr"]]
    grid = list(s.lr_search.lrs or LRS)
    policy: UpdatePolicy = build(s.update, UpdatePolicy, "update", s.plugins)
    return grid if policy.learns(s.rounds) else grid[:1]
