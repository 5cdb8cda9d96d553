"""The arms of a study, one after the other, and what the summary says of them."""

from __future__ import annotations

import warnings
from typing import Any

from swarm.common.errors import CheckpointError, DivergedError
from swarm.common.names import few
from swarm.common.rows import params_sha256
from swarm.config.settings import Settings
from swarm.experiments.resolved import with_lr
from swarm.experiments.runs.describe import (
    describe_data,
    describe_scaling,
    describe_topology,
    option_name,
    versions,
)
from swarm.experiments.runs.lr_search import Say, search_lr
from swarm.experiments.runs.prepared import PreparedArm, PreparedRun
from swarm.experiments.runs.scenario import conclusion_of
from swarm.results import continual
from swarm.results.folder import Folder
from swarm.results.load import load
from swarm.results.provenance import made_with
from swarm.results.track.base import Sink
from swarm.results.track.jsonl import plain
from swarm.results.track.units import where_diverged
from swarm.simulation.engine.base import Engine
from swarm.simulation.loop import Simulation
from swarm.simulation.metrics.formulas import gap_closed


def run_arms(study: PreparedRun, folder: Folder, sink: Sink, say: Say) -> dict[str, Any]:
    """Every arm in turn, from wherever the folder's checkpoints leave it. Returns the summary."""
    progress = folder.progress()
    progress["settings"] = made_with(study.settings.model_dump())
    folder.write_progress(progress)
    with study.engine as engine:
        for arm in study.arms:
            if arm.name not in progress["tuning"]:
                chosen, facts = search_lr(study, arm, engine, say, folder.require_there)
                progress["tuning"][arm.name] = facts
                folder.write_progress(progress)
            else:
                facts = progress["tuning"][arm.name]
                chosen = with_lr(_variant(arm, facts["variant"], folder), facts["lr"])
            sink.configure(arm.name, study.config(arm, chosen))
            if not is_done(study, arm, folder, progress):
                progress["arms"][arm.name] = _run_arm(study, arm, chosen, engine, folder, sink, say)
                folder.write_progress(progress)
    summary = _summary(study, folder, progress)
    folder.finish(summary, [arm.name for arm in study.arms], study.settings.report)
    return summary


def is_done(study: PreparedRun, arm: PreparedArm, folder: Folder, progress: dict[str, Any]) -> bool:
    """Whether the arm came to its end, and has the checkpoint that it ended with: without that it
    is run again.
    """
    done = progress["arms"].get(arm.name)
    if done is None or done["diverged"]:
        return done is not None
    return bool(
        done["rounds"] >= study.settings.rounds and folder.arm(arm.name, 1).newest == done["rounds"]
    )


def _variant(arm: PreparedArm, number: int, folder: Folder) -> Settings:
    if number >= len(arm.variants):
        valid = (
            f"is damaged: it chose variant {number} of the arm {arm.name}, which has"
            f" {len(arm.variants)}"
        )
        raise CheckpointError("resume", folder.path / "progress.json", valid)
    return arm.variants[number]


def _run_arm(
    study: PreparedRun,
    arm: PreparedArm,
    settings: Settings,
    engine: Engine,
    folder: Folder,
    sink: Sink,
    say: Say,
) -> dict[str, Any]:
    final: dict[str, Any] = {}
    diverged, made = None, made_with(study.settings.model_dump())
    with (
        warnings.catch_warnings(),
        Simulation(study.experiment(arm, settings), engine) as simulation,
    ):
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
                    files.save(simulation, made)
        except DivergedError as error:
            others = ", the others go on" if arm.name != study.arms[-1].name else ""
            say(f"{arm.name}: {error}; this arm ends here{others}")
            diverged = {"device": error.device, "round": error.round} | (
                {"name": error.name} if error.name else {}
            )
        else:
            files.save(simulation, made)
        hashed = None if diverged else params_sha256(simulation.engine.current()["x"].cpu().numpy())
        described = engine.describe()
    facts = {
        **{
            k: plain(v)
            for k, v in final.items()
            if k not in ("arm", "round", "steps", "messages", "bytes", "seen")
            and not k.startswith("wall_s_")
        },
        "rounds": simulation.round,
        "lr": settings.optimizer["lr"],
        "wall_s": simulation.seconds,
        "steps_per_s": (
            simulation.steps / simulation.learning_seconds if simulation.learning_seconds else None
        ),
        "params_sha256": hashed,
        "diverged": diverged,
        "engine": described,
    }
    sink.finish(arm.name, facts)
    return facts


def _summary(study: PreparedRun, folder: Folder, progress: dict[str, Any]) -> dict[str, Any]:
    s, arms = study.settings, progress["arms"]
    key = "accuracy_mean" if study.dataset.classes else "r2_mean"
    gap, reason = _gap(arms, key)
    experiment = study.experiment(study.arms[0], study.arms[0].first)
    run = load(folder.path)
    summary = {
        "schema": 1,
        "run": folder.name,
        "scenario": option_name(s.scenario),
        "seed": s.seed,
        "devices": s.devices,
        **({"device_names": names} if (names := few(study.split.names)) else {}),
        "rounds": s.rounds,
        "gap_closed": gap,
        "gap_closed_reason": reason,
        "arms": {name: {**facts, **continual.facts(run.arm(name))} for name, facts in arms.items()},
        "tuning": progress["tuning"],
        "topology": describe_topology(experiment),
        "data": describe_data(study.dataset, study.split, experiment),
        "scaling": describe_scaling(study.dataset),
        "engine": next(iter(arms.values()))["engine"],
        "parameters": experiment.layout.width,
        "versions": versions(),
    }
    return {**summary, **conclusion_of(study.scenario, run, summary)}


def _gap(arms: dict[str, Any], key: str) -> tuple[float | None, str | None]:
    """The share of the gap that the swarm closed by the arms' final ``key``, or None and why there
    is none.
    """
    finals = {name: arms.get(name, {}) for name in ("swarm", "isolated", "centralised")}
    ended = {name: final["diverged"] for name, final in finals.items() if final.get("diverged")}
    if ended:
        each = [f"{name} ({where_diverged(at)})" for name, at in ended.items()]
        return None, f"these arms diverged and have no final score: {', '.join(each)}"
    return gap_closed(*(final.get(key) for final in finals.values()))
