"""Runs the arms of a run one after the other, and writes their part of the summary. Of a run that
is over, the tracker is told what it missed, as it may be behind the run when the process is killed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from swarm.common.errors import CheckpointError, DivergedError, SwarmError
from swarm.common.names import few
from swarm.common.rows import params_sha256
from swarm.config.build import class_of
from swarm.config.settings import Settings
from swarm.experiments.resolved import Resolved, with_lr
from swarm.experiments.runs.describe import (
    describe_attack,
    describe_cohorts,
    describe_data,
    describe_scaling,
    describe_topology,
    option_name,
    tracker_of,
    versions,
)
from swarm.experiments.runs.lr_search import Say, WorkAhead, costly, search_lr
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.experiments.runs.scenario import conclusion_of
from swarm.results import columns, continual
from swarm.results.folder import Folder, kept_files
from swarm.results.folder.arm_files import ArmFiles
from swarm.results.provenance import made_with
from swarm.results.status import PAGE, PICTURE
from swarm.results.track.base import DEVICES, Fanout, Sink, Tracker
from swarm.results.track.jsonl import plain
from swarm.simulation.engine.base import Engine
from swarm.simulation.loop import MetricsRow, Simulation
from swarm.simulation.metrics.column import Column


def work_ahead(prepared: PreparedRun, folder: Folder) -> WorkAhead:
    """What is done beside the run: the searches of those arms that have to wait until another one
    is run, and the report."""
    progress = folder.progress()
    done = [is_done(prepared, arm, folder, progress) for arm in prepared.arms]
    first = done.index(False) if False in done else len(done)
    later = [arm for arm in prepared.arms[first + 1 :] if arm.name not in progress["tuning"]]
    choosing = [arm for arm in later if arm.chooses]
    return WorkAhead(prepared, choosing, folder.require_there, folder.path)


def run_arms(
    prepared: PreparedRun, folder: Folder, sink: Sink, say: Say, ahead: WorkAhead
) -> dict[str, Any]:
    """Run every arm from its newest checkpoint in the folder; returns the summary. ``ahead`` are
    the searches that were begun before."""
    progress = folder.progress()
    progress["settings"] = made_with(prepared.settings.model_dump())
    if not progress.get("files"):
        progress["files"] = kept_files.hashes(prepared.settings)
        progress["folder"] = kept_files.beginning(prepared.settings)
    for arm in prepared.arms:
        if arm.noise:
            found = {number: each.multiplier for number, each in arm.noise.items()}
            progress.setdefault("noise", {})[arm.name] = found
    folder.write_progress(progress)
    open_arms = [arm for arm in prepared.arms if arm.name not in progress["tuning"]]
    if (warning := costly(prepared.settings, open_arms)) is not None:
        say(f"warning: {warning}")
    with prepared.engine as engine:
        for arm in prepared.arms:
            if arm.name not in progress["tuning"]:
                facts = ahead.facts(arm, say)
                if facts is None:
                    _, facts = search_lr(prepared, arm, engine, say, folder.require_there)
                progress["tuning"][arm.name] = facts
                folder.write_progress(progress)
            facts = progress["tuning"][arm.name]
            chosen = chosen_settings(arm, facts, folder)
            sink.configure(arm.name, prepared.config(arm, chosen))
            if not is_done(prepared, arm, folder, progress):
                progress["arms"][arm.name] = _run_arm(
                    prepared, arm, chosen, engine, folder, sink, say
                )
                folder.write_progress(progress)
    summary = _summary(prepared, folder, progress)
    folder.finish(summary, [arm.name for arm in prepared.arms], prepared.settings.report)
    return summary


def is_done(
    prepared: PreparedRun, arm: PreparedArm, folder: Folder, progress: dict[str, Any]
) -> bool:
    """Whether the arm is finished and its last checkpoint is there; without that checkpoint it is
    run again. An arm that diverged, stopped early, or live for all of its seconds, is finished
    however many rounds there are.
    """
    done = progress["arms"].get(arm.name)
    if done is None or done["diverged"]:
        return done is not None
    stopped = bool((done.get("early_stopping") or {}).get("stopped"))
    stopped = stopped or bool((done.get("engine") or {}).get("out_of_time"))
    return bool(
        (stopped or done["rounds"] >= prepared.settings.rounds)
        and folder.arm(arm.name, 1).newest == done["rounds"]
    )


def chosen_settings(arm: PreparedArm, facts: dict[str, Any], folder: Folder) -> Settings:
    """The settings of an arm with the variant and the learning rate that its entry of ``tuning``
    says were chosen.

    Raises :class:`CheckpointError` for a variant that it does not have."""
    number = facts["variant"]
    if number >= len(arm.variants):
        valid = (
            f"is damaged: it chose variant {number} of the arm {arm.name}, which has"
            f" {len(arm.variants)}"
        )
        raise CheckpointError("resume", folder.path / "progress.json", valid)
    return with_lr(arm.variants[number], facts["lr"])


def _run_arm(
    prepared: PreparedRun,
    arm: PreparedArm,
    settings: Settings,
    engine: Engine,
    folder: Folder,
    sink: Sink,
    say: Say,
) -> dict[str, Any]:
    """Run the rounds of one arm from its newest checkpoint on; returns its entry of the summary."""
    diverged, made = None, made_with(prepared.settings.model_dump())
    with (
        warnings.catch_warnings(),
        Simulation(prepared.experiment(arm, settings), engine) as simulation,
    ):
        warnings.simplefilter("ignore")
        files = folder.arm(arm.name, settings.checkpoint.keep)
        files.restore(simulation)
        sink.start(arm.name, settings.rounds, simulation.round)
        final, measured = files.last_record(), simulation.experiment.metrics.columns
        try:
            for record in simulation.records(settings.rounds):
                final |= _handed_on(record, arm.name, files, sink, measured)
                if simulation.at_its_best:
                    files.save_best(simulation, made)
                every = settings.checkpoint.every
                if every and simulation.passed(every):
                    files.save(simulation, made)
        except DivergedError as error:
            others = ", the others go on" if arm.name != prepared.arms[-1].name else ""
            say(f"{arm.name}: {error}; this arm ends here{others}")
            diverged = {"device": error.device, "round": error.round} | (
                {"name": error.name} if error.name else {}
            )
        else:
            files.save(simulation, made)
        facts = _facts(final, simulation, settings, diverged)
    sink.finish(arm.name, facts | (_of_drift(folder, arm.name) if "concept" in final else {}))
    return facts


def _of_drift(folder: Folder, arm: str) -> dict[str, Any]:
    """What drift did to an arm that is over, which is known of its records only."""
    # imported where data drift: pandas takes a third of a second
    from swarm.results.load import load_numbers

    return continual.facts(load_numbers(folder.path).arm(arm))


def _handed_on(
    record: MetricsRow, arm: str, files: ArmFiles, sink: Sink, measured: Sequence[Column]
) -> dict[str, Any]:
    """Give a round's record to the arm's files and to the sink, with the devices' main scores;
    returns the record as a line of ``metrics.jsonl``."""
    line = {"arm": arm, **record.values}
    files.keep_devices(record)
    devices = record.devices or {}
    score = columns.of_devices(columns.complete(measured), devices)
    extra = {} if score is None else {f"{DEVICES}{score.name}": devices[score.name]}
    sink.record({**line, **extra})
    return line


def _facts(
    final: dict[str, Any],
    simulation: Simulation,
    settings: Settings,
    diverged: dict[str, Any] | None,
) -> dict[str, Any]:
    """An arm's entry of the summary; ``final`` has the last recorded value of every key."""
    kept = {
        key: plain(value)
        for key, value in final.items()
        if key not in ("arm", "round", "steps", "messages", "bytes", "seen")
        and not key.startswith("wall_s_")
    }
    seconds = simulation.learning_seconds
    arrays = {} if diverged else simulation.engine.current()
    own = sorted(name for name in arrays if name.startswith("personal."))
    rows = [arrays[name].cpu().numpy() for name in ("x", *own) if arrays]
    return {
        **kept,
        "rounds": simulation.round,
        "lr": settings.optimizer["lr"],
        "wall_s": simulation.seconds,
        "steps_per_s": simulation.counters.steps / seconds if seconds else None,
        "params_sha256": params_sha256(*rows) if rows else None,
        "diverged": diverged,
        **_stopping(simulation),
        "engine": simulation.engine.describe(),
    }


def _stopping(simulation: Simulation) -> dict[str, Any]:
    """The best round of an arm, and whether it stopped early; nothing where neither was asked
    for."""
    if simulation.stopping is None:
        return {}
    facts = simulation.stopping.facts()
    kept = ("metric", "better", "best_round", "best", "stopped")
    return {"early_stopping": {key: facts[key] for key in kept}}


def _summary(prepared: PreparedRun, folder: Folder, progress: dict[str, Any]) -> dict[str, Any]:
    # imported at the end of a run: pandas takes a third of a second
    from swarm.results.load import load

    s, arms = prepared.settings, progress["arms"]
    experiment = prepared.experiment(prepared.arms[0], prepared.arms[0].first)
    run, frozen = load(folder.path), experiment.model.lead.frozen_bytes
    summary = {
        "schema": 1,
        "run": folder.name,
        "scenario": option_name(s.scenario),
        "seed": s.seed,
        "devices": s.devices,
        **({"device_names": names} if (names := few(prepared.split.names)) else {}),
        "rounds": s.rounds,
        "arms": {name: {**facts, **continual.facts(run.arm(name))} for name, facts in arms.items()},
        "tuning": progress["tuning"],
        "topology": describe_topology(experiment),
        "data": describe_data(prepared.dataset, prepared.split, experiment),
        **describe_attack([arm.first for arm in prepared.arms]),
        "scaling": describe_scaling(prepared.dataset),
        "engine": next(iter(arms.values()))["engine"],
        "parameters": experiment.model.lead.layout.width,
        **({"frozen_bytes_per_device": frozen} if frozen else {}),
        **describe_cohorts(experiment),
        "versions": versions(),
    }
    return {**summary, **conclusion_of(prepared.scenario, prepared.arms, run, summary)}


def tracker_misses(
    settings: Settings, home: Folder, summary: dict[str, Any], files: Sequence[Path]
) -> list[str]:
    """The arms, and what stands for ``files``, of which the tracker says that it has not got
    everything; nothing where the tracker cannot be asked, or the folder not be written."""
    kind = class_of(settings.tracker, Tracker, "tracker", settings.plugins)
    if kind.missing is Tracker.missing or not os.access(home.path, os.W_OK):
        return []
    try:
        tracker = tracker_of(settings, home.path, home.name)
        try:
            return [str(name) for name in tracker.missing(list(summary.get("arms", {})), files)]
        finally:
            tracker.close()
    except (Exception, SystemExit):  # a tracker never ends a run
        return []


def pictures(home: Folder) -> list[Path]:
    """The page and the pictures that are there."""
    files = [home.path / name for name in (PICTURE, PAGE, "graph.png")]
    return [file for file in files if file.is_file()]


def tell_again(
    resolved: Resolved,
    home: Folder,
    summary: dict[str, Any],
    files: Sequence[Path],
    say: Callable[[str], None],
) -> None:
    """Have the tracker make up for the arms that it misses, and hand it ``files``; ``say`` prints
    its errors as warnings. Arms whose config cannot be had, as the data are gone, are left out."""
    settings = resolved.settings
    sink = Fanout(Tracker(), [tracker_of(settings, home.path, home.name)], warn=say)
    try:
        configs = dict(_configs(PreparedRun.prepare(resolved), home))
    except SwarmError as error:
        say(f"warning: the tracker is told of no arm, as what they ran with is not there: {error}")
    else:
        for arm, config in configs.items():
            sink.configure(arm, config)
        sink.conclude(summary)
    sink.attach(files)
    sink.close()


def _configs(prepared: PreparedRun, home: Folder) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each arm ran with, for trackers."""
    tuning = home.progress()["tuning"]
    for arm in prepared.arms:
        if arm.name in tuning:
            settings = chosen_settings(arm, tuning[arm.name], home)
            yield arm.name, prepared.config(arm, settings)
