"""A run that has passed all checks: its data are split, and every plug-in was built once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from swarm.common.errors import ConfigError, SwarmError, counted
from swarm.common.names import few
from swarm.common.plugin import blamed, without_global_draws
from swarm.common.rng import Keys
from swarm.config.build import build
from swarm.config.choices import choices_as_typed
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset, DeviceSplit
from swarm.data.local_test import public_asked
from swarm.experiments.checks.probe import probe
from swarm.experiments.device_table import require_what_a_table_can_do, with_table
from swarm.experiments.resolved import (
    Resolved,
    candidate_rates,
    decided,
    resolve,
    seeks_noise,
    to_plan_with,
    with_cohorts,
    with_hostile,
    with_lr,
    with_noise,
    without_cohorts,
)
from swarm.experiments.run_data import load_data
from swarm.experiments.runs.describe import describe_noise, require_tracker, tracker_of
from swarm.experiments.runs.idle import idle, warn_of_idle
from swarm.experiments.runs.memory import running_out, with_searches, with_tries
from swarm.experiments.runs.preflight import (
    require_a_network_that_works,
    require_plain_steps,
    warn_of_an_uncounted_search,
    warn_of_uncounted_practice,
    warn_of_unused_public_samples,
    warn_of_unused_validation,
    warn_of_what_does_nothing,
)
from swarm.experiments.runs.scenario import (
    Arm,
    KindName,
    Scenario,
    arms_of,
    presentation_of,
)
from swarm.learning.update.policy import UpdatePolicy
from swarm.results.presentation import UNDECLARED, Presentation
from swarm.results.track.base import Tracker
from swarm.simulation.experiment import Experiment, RunSpec
from swarm.simulation.experiment.private import found_noise
from swarm.simulation.footprint import NOTHING, Footprint


@dataclass(frozen=True)
class FoundNoise:
    """What ``privacy.noise_multiplier=auto`` stands for in one variant of an arm, and the sentence
    that says so; empty if an earlier command has found it and said it."""

    multiplier: float
    sentence: str = ""


@dataclass(frozen=True)
class PreparedArm(Arm):
    """An arm whose variants have passed the checks, the learning rates that it chooses from, how
    many of them are tried in one block with each variant, whether its devices measure models on
    validation samples of their own, whether they exchange predictions for samples that they share,
    which settings are without effect in it, with a sentence each, and the noise of each of its
    variants, by number, where that was ``auto``, with what is to be said of it."""

    rates: tuple[float, ...] = ()
    together: tuple[int, ...] = ()
    own_validation: bool = False
    predicts: bool = False
    idle: Mapping[str, str] = field(default_factory=dict)
    noise: Mapping[str, FoundNoise] = field(default_factory=dict)

    @property
    def chooses(self) -> bool:
        """Whether it has several rates or variants to choose from."""
        return len(self.rates) * len(self.variants) > 1

    @property
    def first(self) -> Settings:
        """The settings of its first variant with the first of its rates, for checks before the
        rate is chosen."""
        return with_lr(self.variants[0], self.rates[0])


@dataclass(frozen=True)
class PreparedRun(Resolved):
    """A run that has passed every check; nothing has been written and no device exists yet.

    ``policy`` is built once: it says whether devices meet a stream, and is part of every experiment
    that has the run's own ``update``. ``dataset`` and ``split`` are the run's data.
    """

    kind: ClassVar[KindName] = "run"

    scenario: Scenario
    policy: UpdatePolicy
    dataset: Dataset
    split: DeviceSplit
    arms: tuple[PreparedArm, ...] = ()
    footprint: Footprint = NOTHING  # of the arm that takes the most memory, and of the children
    children: int = 0  # how many processes may choose rates of later arms beside the run
    presentation: Presentation = UNDECLARED  # of the arms, and of the scenario's own numbers

    @classmethod
    @running_out("before the start, while the data were loaded and the parts of the run built")
    def prepare(cls, given: Settings | Resolved) -> PreparedRun:
        """Load the data, build every plug-in of every arm once, and check that each arm fits into
        memory.

        Raises :class:`ConfigError` for the first thing that cannot work.
        """
        resolved = given if isinstance(given, Resolved) else resolve(given)
        with choices_as_typed(resolved.settings.plug_ins()):
            return without_global_draws(lambda: cls._prepared(resolved))

    @classmethod
    def _prepared(cls, resolved: Resolved) -> PreparedRun:
        s, scenario = resolved.settings, resolved.scenario
        if not isinstance(scenario, Scenario):
            raise ConfigError("scenario", s.scenario["_target_"], "must be a scenario of one run")
        if s.evaluate.devices is not None and s.evaluate.devices > s.devices:
            raise ConfigError(
                "evaluate.devices",
                s.evaluate.devices,
                f"must be null or at most devices={s.devices}",
            )
        policy = build(s.update, UpdatePolicy, "update", s.plugins)
        dataset, split, program, loading = load_data(s, scenario.learns, policy.streams)
        draft = cls(s, resolved.engine, scenario, policy, dataset, split, noise=resolved.noise)
        own = with_cohorts(s, dataset, split, policy)
        first = to_plan_with(with_lr(own, candidate_rates(s)[0]))
        experiment = draft._built(first, split)
        # so that all arms have the same names, also those without the graph that has them
        if split.names is None and experiment.names is not None:
            draft = replace(draft, split=replace(split, names=experiment.names))
        if s.train.devices is not None:
            named = draft.split.names
            draft = replace(draft, split=with_table(draft.split, s.train.devices, named))
            experiment = draft._built(first, draft.split)
            require_what_a_table_can_do(experiment, s)
        draft.engine.check(experiment)
        steps = experiment.data.steps_a_round
        listed = with_hostile(own, experiment.communication.hostile_N)
        arms = arms_of(scenario, listed, steps)
        arms = [without_cohorts(arm) if arm.pooled else arm for arm in arms]
        draft = replace(draft, presentation=presentation_of(scenario, arms))
        warn_of_uncounted_practice(experiment)
        made = experiment if draft.split is split else None
        checked = [draft._checked(arm, made if arm is arms[0] else None) for arm in arms]
        most = max((needed for _, needed in checked), key=lambda needed: needed.total)
        searches = [needed for arm, needed in checked[1:] if arm.chooses]
        beside = draft.engine.may_fork(experiment)
        children, most = with_searches(most, searches if beside else [])
        most = replace(most, program=program, loading=loading)
        checked_arms = tuple(arm for arm, _ in checked)
        prepared = replace(draft, arms=checked_arms, footprint=most, children=children)
        placed = any(cohort.placement != "random" for cohort in s.cohorts.values())
        warn_of_idle(listed, ((arm.first, arm.idle) for arm in prepared.arms), placed)
        if split.local_validation is not None:
            warn_of_unused_validation(s, any(arm.own_validation for arm, _ in checked))
        if public_asked(s.data):
            warn_of_unused_public_samples(s, any(arm.predicts for arm, _ in checked))
        if experiment.data.privacy.counted and any(len(arm.rates) > 1 for arm, _ in checked):
            warn_of_an_uncounted_search()
        require_tracker(s, prepared.names)
        return prepared

    @property
    def about_noise(self) -> list[str]:
        """What is to be said of the noise that was found, and for which arms."""
        arms_of: dict[str, list[str]] = {}
        for arm in self.arms:
            for found in arm.noise.values():
                arms_of.setdefault(found.sentence, []).append(arm.name)
        return [f"{', '.join(arms)}: {said}" for said, arms in arms_of.items() if said]

    @property
    def outline(self) -> str:
        """What the run consists of, in a few words."""
        arms = ", ".join(arm.name for arm in self.arms)
        return (
            f"{counted(self.settings.devices, 'device')},"
            f" {counted(self.settings.rounds, 'round')}; arms {arms}"
        )

    @property
    def names(self) -> dict[str, list[str | None]]:
        """``device_names`` and ``class_names`` for trackers, as far as there are any and not very
        many.
        """
        found = {
            "device_names": few(self.split.names),
            "class_names": few(self.dataset.class_names),
        }
        return {key: names for key, names in found.items() if names}

    def config(self, arm: Arm, settings: Settings) -> dict[str, Any]:
        """The config of an arm for trackers: the settings chosen for it, its name, and the names of
        devices and classes.
        """
        names = self.names
        if arm.pooled:
            names.pop("device_names", None)
        return {"arm": arm.name, **settings.model_dump(), **names}

    def tracker(self, folder: Path, run: str) -> Tracker:
        """The tracker that mirrors the records of the run ``run``.

        A tracker never ends a run: if it cannot be built, a warning says so and the run goes on
        without it.
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
        """The tracker, as :meth:`tracker` gives it.

        Raises :class:`ConfigError`, or what its constructor raises, if it cannot be built.
        """
        return tracker_of(self.settings, folder, run, self.names)

    def experiment(self, arm: Arm, settings: Settings, lrs: Sequence[float] = ()) -> Experiment:
        """The experiment of an arm with ``settings``, whose learning rate is chosen; with several
        ``lrs``, of as many replicas of its one device, each with one of these rates.

        Raises :class:`ConfigError` for settings that cannot work, and for a rate that is still
        ``auto``.
        """
        s, split = self.settings, self.split
        if arm.pooled:
            batch = s.train.batch if self.policy.streams else None
            split = split.pooled(Keys(s.seed, "pool"), batch)
        if len(lrs) > 1:
            split, engine = split.replicated(lrs), {**settings.engine, "block": len(lrs)}
            settings = settings.model_copy(update={"devices": len(lrs), "engine": engine})
        return self._built(settings, split)

    def _built(self, settings: Settings, split: DeviceSplit) -> Experiment:
        spec = RunSpec(decided(settings, self.dataset), self.dataset, split)
        policy = self.policy if settings.update == self.settings.update else None
        with choices_as_typed(settings.plug_ins()):
            return Experiment(spec, policy)

    def _tried(
        self, arm: Arm, number: str, variant: Settings, made: Experiment | None
    ) -> tuple[Experiment, FoundNoise | None]:
        """The experiment of variant ``number`` of an arm with the first of its rates, and the noise
        that was found for it; None where none was to be found. The experiment is ``made`` already,
        if that has its settings.

        Raises :class:`ConfigError` if it cannot work."""
        found, settings = None, with_lr(variant, candidate_rates(variant)[0])
        if seeks_noise(variant):
            found = self._noise_of(arm, number, settings)
            settings = with_noise(settings, found.multiplier)
        if made is None or arm.pooled or made.settings != decided(settings, self.dataset):
            made = self.experiment(arm, settings)
        self.engine.check_arm(made)
        return made, found

    def _noise_of(self, arm: Arm, number: str, settings: Settings) -> FoundNoise:
        """The noise of a variant: as an earlier command has found it, or found now."""
        if earlier := self.noise.get(arm.name, {}).get(number):
            return FoundNoise(earlier)
        planned = self.experiment(arm, to_plan_with(settings))
        least = found_noise(planned)
        return FoundNoise(least.noise_multiplier, describe_noise(least, planned))

    def _checked(self, arm: Arm, made: Experiment | None) -> tuple[PreparedArm, Footprint]:
        """The arm with the variants that can work, and the memory of the largest of them. A variant
        may fail because a centralised model's mini-batch is larger than its stream. ``made`` is
        built already, and taken for the variant that has its settings.

        Raises :class:`ConfigError` if no variant can work.
        """
        kept: list[Settings] = []
        needed: list[tuple[int, Footprint]] = []
        wrong: list[ConfigError] = []
        rates: tuple[float, ...] = ()
        measures, predicts, without = False, False, dict[str, str]()
        noise = dict[str, FoundNoise]()
        for number, given in enumerate(arm.variants):
            its = candidate_rates(given)
            try:
                experiment, found = self._tried(arm, str(number), given, made)
            except ConfigError as error:
                wrong.append(error)
                continue
            variant = given.model_copy(update={"privacy": experiment.settings.privacy})
            several = partial(self.experiment, arm, experiment.settings)
            needed.append(with_tries(experiment, self.engine, its, len(arm.variants), several))
            measures |= experiment.communication.own_validation
            predicts |= experiment.communication.protocol.distillation is not None
            require_plain_steps(experiment)
            probe(experiment)
            require_a_network_that_works(experiment)
            warn_of_what_does_nothing(experiment)
            if not kept:  # if nothing is ever learnt, all rates give the same
                learns = len(its) == 1 or experiment.data.policy.learns(variant.rounds)
                rates = its if learns else its[:1]
                own = variant.protocol == self.settings.protocol
                without = idle(experiment, None if own else arm.name)
            kept.append(variant)
            noise |= {} if found is None else {str(number): found}
        if not kept:
            first, valid = wrong[0], f"{wrong[0].valid} (in the arm {arm.name})"
            raise ConfigError(first.key, first.value, valid) from first
        for reason in wrong:
            warnings.warn(
                f"the arm {arm.name} does without one of its {arm.differ_in}s, as {reason}",
                stacklevel=2,
            )
        together = tuple(count for count, _ in needed)
        about = (rates, together, measures, predicts, without, noise)
        checked = PreparedArm(arm.name, tuple(kept), arm.pooled, arm.style, arm.differ_in, *about)
        _require_validation(checked, self.settings, self.dataset)
        return checked, max((memory for _, memory in needed), key=lambda each: each.total)


def _require_validation(arm: PreparedArm, settings: Settings, dataset: Dataset) -> None:
    """Refuse an empty validation split if the arm has a rate or a variant to choose on it."""
    if arm.chooses and not len(dataset.validation):
        what = "learning rate" if len(arm.variants) == 1 else "learning rate and batch size"
        valid = (
            f"leaves no validation samples, on which the arm {arm.name} chooses its {what}; must be"
            " above 0"
        )
        raise ConfigError("data.validation", settings.data.get("validation"), valid)
