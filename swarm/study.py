"""A scenario's run, from the settings to the closed run folder: choose rates, run the arms, sum up."""

from __future__ import annotations

import importlib.metadata
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from swarm import continual
from swarm.build import as_typed, build
from swarm.data.dataset import Dataset, Holdings, Source, validate
from swarm.data.drift import Drift, Steady
from swarm.data.partition import Partition
from swarm.data.people import Everywhere, People
from swarm.describe import describe_topology, option_name
from swarm.engine.base import Engine
from swarm.errors import ConfigError, DivergedError
from swarm.experiment import Experiment, Plan
from swarm.folder import Folder
from swarm.learn.policy import Policy
from swarm.metrics import gap_closed
from swarm.preflight import (
    require_a_network_that_works,
    require_memory,
    require_plain_steps,
    warn_of_what_does_nothing,
)
from swarm.report.load import load
from swarm.rng import Keys
from swarm.scenario import Arm, Scenario
from swarm.settings import Settings
from swarm.simulation import Simulation
from swarm.state import params_sha256
from swarm.track.base import Sink, Tracker
from swarm.track.jsonl import plain

LRS = (0.03, 0.1, 0.3, 1.0, 3.0)
PACKAGES = ("swarm-sim", "torch", "numpy", "scipy", "networkx", "hydra-core", "ray", "wandb")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One rate (and variant) tried for some rounds: its score and loss on the validation split, None if it diverged."""

    variant: int
    lr: float
    rounds: int
    found: tuple[float, float] | None

    def rank(self) -> tuple[bool, float, float]:
        """Higher is better: by score, among equal scores by loss; where all diverge, the smallest rate."""
        if self.found is None:
            return False, -self.lr, 0.0
        return True, self.found[0], -self.found[1]

    def facts(self) -> dict[str, Any]:
        """For ``summary.json``."""
        score, loss = self.found or (None, None)
        return {"variant": self.variant, "lr": self.lr, "rounds": self.rounds, "score": score, "loss": loss}


@dataclass(frozen=True)
class Study:
    """A run that has passed every check; nothing has been written and no device exists yet."""

    settings: Settings
    scenario: Scenario
    dataset: Dataset
    holdings: Holdings
    arms: tuple[Arm, ...]

    @classmethod
    def prepare(cls, settings: Settings) -> Study:
        """Load the data, build every plug-in of every arm once, and check that it fits into memory.

        Raises :class:`ConfigError` for whatever cannot work.
        """
        s = settings = settled(settings)
        context = {"devices": s.devices, "seed": s.seed}
        scenario = build(s.scenario, Scenario, "scenario", s.plugins)
        if s.evaluate.sample is not None and s.evaluate.sample > s.devices:
            raise ConfigError("evaluate.sample", s.evaluate.sample, f"must be null or at most devices={s.devices}")
        try:
            dataset = build(s.data, Source, "data", s.plugins, **context).load()
            validate(dataset)
        except ConfigError as error:
            raise error if error.key.startswith("data.") else error.under("data") from None
        _require_label(s, dataset)
        partition = build(s.partition, Partition, "partition", s.plugins, devices=s.devices)
        try:
            nothing = Holdings.group([], s.devices)
            holdings = partition.deal(dataset, Keys(s.seed, "partition")) if scenario.learns else nothing
        except ConfigError as error:
            raise error.under("partition") from None
        dataset, holdings = _streamed(s, dataset, holdings)
        draft = cls(s, scenario, dataset, holdings, ())
        experiment = _built(Plan(s, dataset, holdings))
        draft.engine().check(experiment)
        steps = int(experiment.local_steps_N.sum())
        study = replace(draft, arms=tuple(scenario.arms(s, steps)))
        for arm in study.arms:
            _require_validation(arm, s, dataset)
            for variant in arm.variants:
                experiment = study.experiment(arm, variant)
                require_memory(experiment)
                require_plain_steps(experiment)
                require_a_network_that_works(experiment)
                warn_of_what_does_nothing(experiment)
        study.tracker(Path(), "check")
        return study

    @property
    def outline(self) -> str:
        """What it would run, in a few words."""
        arms = ", ".join(arm.name for arm in self.arms)
        return f"{self.settings.devices} devices, {self.settings.rounds} rounds; arms {arms}"

    def tracker(self, folder: Path, run: str) -> Tracker:
        """The tracker that mirrors the records."""
        s = self.settings
        context = {"folder": folder, "run": run, "config": s.model_dump(), "versions": versions()}
        return build(s.tracker, Tracker, "tracker", s.plugins, **context)

    def experiment(self, arm: Arm, settings: Settings) -> Experiment:
        """One variant of an arm, built."""
        s, holdings = self.settings, self.holdings
        if arm.pooled:
            streams = build(s.learn, Policy, "learn", s.plugins).streams
            holdings = holdings.pooled(Keys(s.seed, "pool"), s.train.batch if streams else None)
        return _built(Plan(settings, self.dataset, holdings))

    def engine(self) -> Engine:
        """A fresh engine, for all arms one after the other."""
        return build(self.settings.engine, Engine, "engine", self.settings.plugins)

    # --- learning rates ------------------------------------------------------------------------------------------------

    def tune(self, arm: Arm, engine: Engine, say: Say) -> tuple[Settings, dict[str, Any]]:
        """The arm's settings with every choice made, and the table of what was tried.

        Every pair of a variant and a rate of the one grid runs for ``tune.rounds`` rounds, by default a fifth of the run;
        the best mean accuracy (or R²) on the validation split wins. Then those that share the best score run once more,
        as long as the arm itself will, unless ``tune.rounds`` says how long a try is. Among equals that remain the lower
        loss wins. The test set is never looked at.
        """
        s = self.settings
        lrs = _rates(arm.variants[0])
        pairs = list(itertools.product(range(len(arm.variants)), lrs))
        if len(pairs) == 1:
            return _with_lr(arm.variants[0], lrs[0]), {"lr": lrs[0], "variant": 0, "tried": []}
        rounds = min(s.rounds, s.tune.rounds or max(5, s.rounds // 5))
        batches = f" × {len(arm.variants)} batch sizes" if len(arm.variants) > 1 else ""
        say(
            f"{arm.name}: choosing a learning rate out of {len(lrs)}{batches} on the validation split, {rounds} rounds each"
        )
        tried = [self._trial(arm, v, lr, rounds, engine) for v, lr in pairs]
        best = max(tried, key=Trial.rank)
        equals = [t for t in tried if t.found and best.found and t.found[0] == best.found[0]]
        if len(equals) > 1 and s.tune.rounds is None and rounds < s.rounds:
            # A validation split is small, so models often tie; and there the loss of a short run misleads: it is lowest
            # for a slow rate, which is not yet as sure of its few mistakes as it will be at the end.
            say(f"{arm.name}: {len(equals)} of them are equal so far; {s.rounds} rounds each decide")
            longer = [self._trial(arm, t.variant, t.lr, s.rounds, engine) for t in equals]
            tried += longer
            best = max(longer, key=Trial.rank)
        variant, lr = best.variant, best.lr
        if len(lrs) > 1 and lr in (max(lrs), min(lrs)):
            grid = [float(v) for v in lrs]
            say(f"{arm.name}: the best learning rate {lr} is at the edge of {grid}; a wider tune.lrs=[…] may do better")
        return _with_lr(arm.variants[variant], lr), {
            "lr": lr,
            "variant": variant,
            "rounds": rounds,
            "tried": [t.facts() for t in tried],
        }

    def _trial(self, arm: Arm, variant: int, lr: float, rounds: int, engine: Engine) -> Trial:
        """A run of so many rounds, without records."""
        settings = _with_lr(arm.variants[variant], lr)
        quiet = settings.evaluate.model_copy(update={"every": rounds, "accuracy": False})
        horizon = None if rounds < settings.rounds else settings.horizon  # a short try has the whole schedule in short
        short = settings.model_copy(update={"rounds": rounds, "horizon": horizon, "evaluate": quiet})
        with Simulation(self.experiment(arm, short), engine) as simulation:
            try:
                for _ in simulation.records(rounds):
                    pass
            except DivergedError:
                return Trial(variant, lr, rounds, None)
            found = simulation.measure.validate(simulation.round, simulation.seen_N)
        return Trial(variant, lr, rounds, found if np.isfinite(found).all() else None)

    # --- arms --------------------------------------------------------------------------------------------------------

    def run(self, folder: Folder, sink: Sink, say: Say) -> dict[str, Any]:
        """Every arm in turn, from wherever the folder's checkpoints leave it. Returns the summary."""
        progress = folder.progress()
        with self.engine() as engine:
            for arm in self.arms:
                if arm.name not in progress["tuning"]:
                    chosen, facts = self.tune(arm, engine, say)
                    progress["tuning"][arm.name] = facts
                    folder.write_progress(progress)
                else:
                    facts = progress["tuning"][arm.name]
                    chosen = _with_lr(arm.variants[facts["variant"]], facts["lr"])
                done = progress["arms"].get(arm.name)
                if done is None or (done["rounds"] < self.settings.rounds and not done["diverged"]):
                    progress["arms"][arm.name] = self._run_arm(arm, chosen, engine, folder, sink, say)
                    folder.write_progress(progress)
        summary = self._summary(folder, progress)
        folder.finish(summary, [arm.name for arm in self.arms])
        return summary

    def _run_arm(
        self, arm: Arm, settings: Settings, engine: Engine, folder: Folder, sink: Sink, say: Say
    ) -> dict[str, Any]:
        final: dict[str, Any] = {}
        diverged = None
        with warnings.catch_warnings(), Simulation(self.experiment(arm, settings), engine) as simulation:
            warnings.simplefilter("ignore")
            files = folder.arm(arm.name, settings.checkpoint.keep)
            files.restore(simulation)
            sink.start(arm.name, settings.rounds, simulation.round)
            final = files.last_record()
            try:
                for record in simulation.records(settings.rounds):
                    line = {"arm": arm.name, **record.values}
                    final |= line
                    files.keep_devices(record)
                    accuracy = None if record.devices is None else record.devices.get("accuracy")
                    sink.record(line if accuracy is None else {**line, "_device_accuracy": accuracy})
                    every = settings.checkpoint.every
                    if every and simulation.round % every == 0 and simulation.round:
                        files.save(simulation)
            except DivergedError as error:
                say(f"{arm.name}: {error}; this arm ends here, the others go on")
                diverged = {"device": error.device, "round": error.round}
            else:
                files.save(simulation)
            hashed = None if diverged else params_sha256(simulation.engine.snapshot()["x"].numpy())
            described = engine.describe()
        facts = {
            **{
                k: plain(v)
                for k, v in final.items()
                if k not in ("arm", "round", "steps", "messages", "bytes", "seen") and not k.startswith("wall_s_")
            },
            "rounds": simulation.round,
            "lr": settings.optimizer["lr"],
            "wall_s": simulation.seconds,
            "steps_per_s": simulation.steps / simulation.learning_seconds if simulation.learning_seconds else None,
            "params_sha256": hashed,
            "diverged": diverged,
            "engine": described,
        }
        sink.finish(arm.name, facts)
        return facts

    # --- summing up ----------------------------------------------------------------------------------------------------

    def _summary(self, folder: Folder, progress: dict[str, Any]) -> dict[str, Any]:
        s, arms = self.settings, progress["arms"]
        key = "accuracy_mean" if self.dataset.classes else "r2_mean"
        gap, reason = gap_closed(
            *(
                None if arms.get(n, {}).get("diverged") else arms.get(n, {}).get(key)
                for n in ("swarm", "isolated", "centralised")
            )
        )
        experiment, run = self.experiment(self.arms[0], self.arms[0].variants[0]), load(folder.path)
        summary = {
            "schema": 1,
            "run": folder.name,
            "scenario": option_name(s.scenario),
            "seed": s.seed,
            "devices": s.devices,
            "rounds": s.rounds,
            "gap_closed": gap,
            "gap_closed_reason": reason,
            "arms": {name: {**facts, **continual.facts(run.arm(name))} for name, facts in arms.items()},
            "tuning": progress["tuning"],
            "topology": describe_topology(experiment),
            "data": self._describe_data(experiment),
            "engine": next(iter(arms.values()))["engine"],
            "parameters": experiment.layout.width,
            "versions": versions(),
        }
        return {**summary, **self.scenario.judge(run, summary)}

    def _describe_data(self, experiment: Experiment) -> dict[str, Any]:
        d = self.dataset
        sizes = np.diff(self.holdings.ptr_N1)
        return {
            "name": option_name(self.settings.data),
            "train": len(self.holdings.sample),
            "validation": len(d.validation),
            "test": len(d.test),
            "classes": d.classes,
            "features": list(d.x.shape[1:]),
            "samples_per_device": {"min": int(sizes.min()), "median": float(np.median(sizes)), "max": int(sizes.max())},
            **({"replay_bytes_per_device": experiment.replay_bytes} if experiment.replay.size else {}),
        }


def _built(plan: Plan) -> Experiment:
    try:
        return Experiment(plan)
    except ConfigError as error:
        raise as_typed(error, plan.settings.plug_ins()) from error


def settled(settings: Settings) -> Settings:
    """With the block size that the engine needs written into the settings: results depend on it, so a run's config has it."""
    block = build(settings.engine, Engine, "engine", settings.plugins).block
    if block == settings.engine.get("block", "auto"):
        return settings
    return settings.model_copy(update={"engine": {**settings.engine, "block": block}})


def _streamed(s: Settings, dataset: Dataset, holdings: Holdings) -> tuple[Dataset, Holdings]:
    """The data in the order in which devices meet them, with all that changes on the way. As they are without streams."""
    policy: Policy = build(s.learn, Policy, "learn", s.plugins)
    drift: Drift = build(s.drift, Drift, "drift", s.plugins, seed=s.seed)
    people: People = build(s.people, People, "people", s.plugins, seed=s.seed)
    for key, changes in (("drift", not isinstance(drift, Steady)), ("people", not isinstance(people, Everywhere))):
        if changes and not policy.streams:
            valid = "needs a stream of samples; learn=online, nightly or frozen would do"
            raise ConfigError(key, option_name(getattr(s, key)), valid)
    if not policy.streams:
        return dataset, holdings
    holdings = holdings.in_order(Keys(s.seed, "order"))
    try:
        dataset = drift.apply(dataset, holdings)
    except ConfigError as error:
        raise as_typed(error.under("drift"), s.plug_ins()) from None
    try:
        return people.apply(dataset, holdings), holdings
    except ConfigError as error:
        raise error.under("people") from None


def _require_validation(arm: Arm, settings: Settings, dataset: Dataset) -> None:
    """Refuse an arm that has something to choose on the validation split where that is empty."""
    if len(_rates(arm.variants[0])) * len(arm.variants) > 1 and not len(dataset.validation):
        what = "learning rate" if len(arm.variants) == 1 else "learning rate and batch size"
        valid = f"leaves no validation samples, on which the arm {arm.name} chooses its {what}; must be above 0"
        raise ConfigError("data.validation", settings.data.get("validation"), valid)


def _require_label(settings: Settings, dataset: Dataset) -> None:
    """Refuse ``evaluate.label`` where no test sample has it."""
    label = settings.evaluate.label
    if label is None:
        return
    if not dataset.classes:
        raise ConfigError("evaluate.label", label, "must be null with numeric targets: there are no labels")
    there = np.unique(dataset.y[dataset.test])
    if label not in there:
        valid = f"must be null or one of the {len(there)} labels of the test samples, {there[0]:.0f} to {there[-1]:.0f}"
        raise ConfigError("evaluate.label", label, valid)


def _rates(s: Settings) -> list[float]:
    """The learning rates to choose from; a single one where nothing is ever learnt."""
    if s.optimizer.get("lr") != "auto":
        return [s.optimizer["lr"]]
    grid = list(s.tune.lrs or LRS)
    policy: Policy = build(s.learn, Policy, "learn", s.plugins)
    return grid if policy.learns(s.rounds) else grid[:1]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import platform

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _with_lr(settings: Settings, lr: float) -> Settings:
    return settings.model_copy(update={"optimizer": {**settings.optimizer, "lr": float(lr)}})
