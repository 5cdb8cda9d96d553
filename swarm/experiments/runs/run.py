"""Runs into a new folder, or resumes a run where it was interrupted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from swarm.common.errors import ConfigError
from swarm.config.build import option
from swarm.config.choices import choice
from swarm.config.schema import read_json
from swarm.config.settings import Settings
from swarm.experiments.resolved import Resolved, resolve
from swarm.experiments.runs import arms
from swarm.experiments.runs.describe import tracker_of
from swarm.experiments.runs.lr_search import WorkAhead
from swarm.experiments.runs.memory import running_out, stated
from swarm.experiments.runs.prepared import PreparedRun
from swarm.results import columns
from swarm.results.earlier import refuse_a_mixture
from swarm.results.folder import Folder, kept_files, kept_tokens, typed_words
from swarm.results.presentation import stored
from swarm.results.provenance import OF_ENGINE
from swarm.results.schemas import Graph, Summary
from swarm.results.status import summary_of
from swarm.results.track.background import beside
from swarm.results.track.base import Fanout, Sink, Strict, Tracker
from swarm.results.track.console import ConsoleSink, print_summary
from swarm.results.track.jsonl import JsonlSink, read_jsonl
from swarm.simulation.metrics.column import Column


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run: its folder and its ``summary.json``."""

    folder: Path
    summary: dict[str, Any]

    def __repr__(self) -> str:
        arms = self.summary.get("arms", {})
        return f"<result in {str(self.folder)!r}: {', '.join(arms) or 'no arms'}>"


def execute(
    prepared: PreparedRun, folder: str | Path, words: Sequence[str] | None = None
) -> Result:
    """Run ``prepared``, which has been checked, into a new folder; ``words`` are its settings as
    they were typed.

    Raises :class:`ConfigError` for a folder that is not empty or is another process's."""
    with Folder.create(Path(folder), prepared.settings, words) as home:
        return _run(prepared, home)


def resume(folder: str | Path, overrides: dict[str, Any]) -> Result:
    """Go on with the run in ``folder`` under its own config, of which only ``rounds`` (not fewer),
    ``engine``, ``engine.*`` except ``block``, and ``tracker.*`` may change.

    A run that is finished already is returned as it is; if only its report is missing, that is
    drawn, and a tracker that the process did not live to tell everything is told again.

    Raises :class:`ConfigError` for another change, and for a folder that cannot be resumed.
    """
    path = Path(folder)
    home, settings = Folder.open(path)
    if home.finished() and not overrides:
        home.require_settings(settings.model_dump())
        summary = _summary(path)  # which may be damaged, so it is read before anything is printed
        if not arms.tracker_misses(settings, home, summary, arms.pictures(home)):
            print(f"{path} is finished already; nothing to do")
            return Result(path, summary)
    with home.lock():
        _, settings = Folder.open(path)  # read again, as another process may have changed it
        return _resume(home, settings, overrides)


def _resume(home: Folder, old: Settings, overrides: dict[str, Any]) -> Result:
    path = home.path
    home.require_settings(old.model_dump())
    resolved = resolve(overridden(old, overrides))
    resolved = replace(resolved, noise=home.progress().get("noise", {}))
    new = resolved.settings
    _require_same_numbers(old, new)
    if new.rounds < old.rounds:
        raise ConfigError(
            "rounds",
            new.rounds,
            f"is fewer than the {old.rounds} of the run; only a larger number can be resumed",
        )
    if home.closed() and new.rounds == old.rounds:
        if new != old:
            # nothing is run with the new settings, but those that cannot work are refused
            PreparedRun.prepare(resolved)
        return _complete(resolved, home)
    if new.rounds > old.rounds > 0 and old.schedule.get("rounds") is None:
        # the rounds that are done must keep the schedule that they were run with
        new = new.with_schedule_rounds(old.rounds)
    before = home.progress()
    kept_files.require_same(path, before.get("files", {}), new, before.get("folder"))
    prepared = PreparedRun.prepare(replace(resolved, settings=new))
    _warn_of_another_order(home, prepared)
    if new.rounds > old.rounds:
        _require_budget(path, prepared, old.rounds)
    progress = home.progress()
    # if all arms are done, nothing is computed
    if not all(arms.is_done(prepared, arm, home, progress) for arm in prepared.arms):
        refuse_a_mixture(path, new, prepared.dataset)
    kept_tokens.require_same(path, prepared.dataset)
    home.verify()  # before anything in the folder changes
    words = typed_words.read(path, "resume")
    home.write_config(new)
    typed_words.write(path, None if words is None else typed_words.changed(words, overrides))
    (path / "summary.json").unlink(missing_ok=True)
    return _run(prepared, home)


def _require_same_numbers(old: Settings, new: Settings) -> None:
    """Raises :class:`ConfigError` for an engine whose numbers would be of another run."""
    then, now = old.engine, new.engine
    if now.get("block") != then.get("block"):
        valid = f"needs blocks of {now.get('block')}, but the run has others"
        raise ConfigError("engine", now, valid)
    for name in OF_ENGINE:
        if (name in now) != (name in then):
            valid = "cannot take over this run: a live run goes on live, and no other run does"
            raise ConfigError("engine", choice("engine", now), valid)
        if now.get(name) != then.get(name):
            valid = f"cannot change on resume; it is {then[name]}"
            raise ConfigError(f"engine.{name}", now[name], valid)


def _require_budget(path: Path, prepared: PreparedRun, done: int) -> None:
    """Refuse more rounds than the ``done`` of a run in which every honest device of every arm has
    spent its privacy budget."""
    last = {row["arm"]: row for row in read_jsonl(path / "metrics.jsonl")}
    spent = (last.get(arm.name, {}).get("budgets_spent") for arm in prepared.arms)
    experiments = [prepared.experiment(arm, arm.first) for arm in prepared.arms]
    if all(n == e.communication.honest_N.sum() for n, e in zip(spent, experiments, strict=True)):
        s = prepared.settings
        valid = (
            f"must be {done}: every device has spent its privacy.epsilon={s.privacy['epsilon']:g},"
            " and would learn nothing in more rounds"
        )
        raise ConfigError("rounds", s.rounds, valid)


def _warn_of_another_order(home: Folder, prepared: PreparedRun) -> None:
    """Warn of a run begun by a version that sorted numbers written as text in the order of text, 10
    before 2.
    """
    file = home.path / "graph.json"
    graph = read_json(file, Graph, "resume") if file.exists() else None
    columns = {
        "owners": prepared.dataset.owner_names or (),
        "classes": prepared.dataset.class_names or (),
    }
    moved = [what for what, names in columns.items() if list(names) != sorted(names)]
    if graph is not None and "names" not in graph and moved:
        text = (
            f"{home.path}: was begun by a version that took numbers written as text in the order of"
            " text; if the "
        )
        text += (
            f"{' and '.join(moved)} in its file are text, the rounds to come mix two orders, and"
            " the run must be done anew"
        )
        warnings.warn(text, stacklevel=3)


def overridden(settings: Settings, overrides: dict[str, Any]) -> Settings:
    """``settings`` with ``overrides`` applied.

    Raises :class:`ConfigError` for a key that may not change on resume.
    """
    if not overrides:
        return settings
    config, rest = settings.model_dump(), dict(overrides)
    changed = dict(config)
    if "engine" in rest:  # a new engine keeps the block size, on which results depend
        blocks = {key: value for key, value in config["engine"].items() if key == "block"}
        changed["engine"] = {**option("engine", str(rest.pop("engine"))), **blocks}
    for key, value in rest.items():
        section, _, name = key.partition(".")
        allowed = key == "rounds" or (
            section in ("engine", "tracker") and name and key != "engine.block"
        )
        if not allowed:
            raise ConfigError(
                key,
                value,
                "cannot change on resume; rounds (larger), engine.* except block, and tracker.*"
                " (mode=disabled: none) can",
            )
        if name:
            changed[section] = {**changed[section], name: value}
        else:
            changed[section] = value
    return Settings.parse(changed)


def _run(prepared: PreparedRun, home: Folder) -> Result:
    # before the tracker starts a thread, as a process with several must not be forked
    with arms.work_ahead(prepared, home) as ahead:
        return _run_beside(prepared, home, ahead)


def _run_beside(prepared: PreparedRun, home: Folder, ahead: WorkAhead) -> Result:
    tracker = prepared.tracker(home.path, home.name)
    found = _begin(prepared, home)
    console = ConsoleSink(
        past=read_jsonl(home.path / "metrics.jsonl"),
        presentation=prepared.presentation,
        columns=found,
    )
    mirrors = [console, beside(tracker)]
    sink = Fanout(JsonlSink(home.path / "metrics.jsonl"), mirrors, warn=console.say, columns=found)
    console.say(stated(prepared.footprint))
    for said in prepared.about_noise:
        console.say(said)
    summary = _played(prepared, home, sink, console.say, ahead)
    print_summary(summary, columns=found, presentation=prepared.presentation)
    print(f"run folder: {home.path}")
    return Result(home.path, summary)


def run_for(tracker: Callable[[Path, str], Tracker], prepared: PreparedRun, home: Folder) -> None:
    """Run into the new folder ``home`` for the tracker alone that ``tracker`` builds, by the calls
    of any other run, and without a word.

    Raises what the tracker raises, which ends the run."""
    with arms.work_ahead(prepared, home) as ahead:
        mirror = beside(tracker(home.path, home.name))
        found = _begin(prepared, home)
        sink = Strict(JsonlSink(home.path / "metrics.jsonl"), [mirror], columns=found)
        _played(prepared, home, sink, lambda text: None, ahead)


def _begin(prepared: PreparedRun, home: Folder) -> tuple[Column, ...]:
    """Write what a folder has before its arms run, and cut off the records that are not kept;
    returns the columns of the records."""
    progress = home.progress()
    for arm in prepared.arms:
        if not (progress["arms"].get(arm.name) or {}).get(
            "diverged"
        ):  # a diverged arm is not run again, so its records stay
            home.arm(arm.name, prepared.settings.checkpoint.keep).rewind()
    kept_tokens.write(home.path, prepared.dataset)
    stored.write(home.path, prepared.presentation)
    first = prepared.experiment(prepared.arms[0], prepared.arms[0].first)
    hostile = np.flatnonzero(~first.communication.honest_N).tolist()
    names = None if prepared.arms[0].pooled else prepared.split.names  # one node is nobody's
    home.write_graph(first.communication.graph(1), names, hostile)
    columns.write(home.path, first.metrics.columns)
    return columns.complete(first.metrics.columns)


def _played(
    prepared: PreparedRun, home: Folder, sink: Sink, say: Callable[[str], None], ahead: WorkAhead
) -> dict[str, Any]:
    """Run all arms, whose records and pictures ``sink`` gets; returns the summary."""
    try:
        with running_out(
            f"(resume={home.path} goes on where the run was)",
            prepared.footprint,
            prepared.settings.devices,
        ):
            summary = arms.run_arms(prepared, home, sink, say, ahead)
            sink.conclude(summary)
            if prepared.settings.report:
                sink.attach(_drawn(home, ahead))
    finally:
        sink.close()
    return summary


def _complete(resolved: Resolved, home: Folder) -> Result:
    """What a run that is over still lacks: its report is drawn, and its tracker told what it has
    missed."""
    settings, summary, whole = resolved.settings, _summary(home.path), home.finished()
    files = arms.pictures(home) if whole else _drawn(home)
    # pictures that are new are told in any case
    lost = arms.tracker_misses(settings, home, summary, files if whole else ())
    if lost:
        print(told_again(home, lost))
        arms.tell_again(resolved, home, summary, files, print)
    elif not whole:
        attach(settings, home, files, print)
    if not whole:
        print(f"{home.path} was finished but for its report, which is drawn now")
    elif not lost:
        print(f"{home.path} is finished already; nothing to do")
    return Result(home.path, summary)


def told_again(home: Folder, lost: Sequence[str]) -> str:
    """The sentence about what a tracker has ``lost`` of a finished folder."""
    return f"{home.path}: the tracker has not all of {', '.join(lost)}, and is told again now"


def attach(
    settings: Settings, home: Folder, files: Sequence[Path], say: Callable[[str], None]
) -> None:
    """Hand pages and pictures to the tracker; ``say`` prints its errors as warnings."""
    sink = Fanout(Tracker(), [tracker_of(settings, home.path, home.name)], warn=say)
    sink.attach([file for file in files if file.is_file()])
    sink.close()


def _summary(path: Path) -> dict[str, Any]:
    return summary_of(path, Summary) or {}


def _drawn(home: Folder, ahead: WorkAhead | None = None) -> list[Path]:
    """The files of the report, drawn now: by a child that has imported what draws, or here."""
    if ahead is not None and (drawn := ahead.report()):
        return drawn
    # imported at the end of a run: what draws takes half a second, and some runs draw nothing
    from swarm.results.report import write_report

    return write_report(home.path)
