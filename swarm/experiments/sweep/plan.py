"""The plan of a sweep: its jobs and their folders, decided before anything is written.

Modules that need torch are imported inside functions, so that a sweep that is refused need not wait
for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from swarm.common.errors import ConfigError, SwarmError, typed
from swarm.config.choices import choice
from swarm.config.composing.compose import Composer
from swarm.config.composing.hydra_section import require_no_run_in, sweep_folder
from swarm.config.composing.overrides import UsageError, parse, words_of_params
from swarm.config.composing.place import require_new
from swarm.config.schema import read_json
from swarm.config.settings import Settings
from swarm.experiments.sweep.identity import (
    DamagedError,
    identify,
    outside,
    refuse_addition,
    refuse_difference,
    saved_identity,
    shared_by,
    today,
)
from swarm.experiments.sweep.job import ANEW, Job, folder_name
from swarm.results.provenance import code_version, same_code
from swarm.results.schemas import Sweep
from swarm.results.status import FILE, archive, finished, read_note

SWEEP = "sweep.json"
SEED = "seed"
# this many jobs are checked, with data and plug-ins, before the sweep starts; others as they start
MOST_JOBS_CHECKED = 64


@dataclass
class SweepPlan:
    """The jobs of one command, and the ``earlier`` jobs that were in the sweep's folder before."""

    cfg: DictConfig
    place: Path
    jobs: list[Job]
    earlier: list[Job]
    swept: list[str]
    base: dict[str, Any]
    code: dict[str, str | None]
    before: dict[str, Any] | None = None  # sweep.json as it was found
    superseded: int = 0  # runs of other code that were moved away

    @classmethod
    def make(cls, composer: Composer, cfg: DictConfig, overrides: Sequence[str]) -> SweepPlan:
        """Compose every job of the sweep ``cfg``, and look at what is in its folder already;
        nothing is written.

        Raises :class:`ConfigError` if the command as a whole cannot work: a value is wrong in every
        combination, all combinations are impossible, or the folder is another sweep's. A single
        combination that cannot work becomes a job with the state ``impossible`` and its cause.
        """
        sweeper: Any = OmegaConf.to_container(cfg.hydra.sweeper)
        fixed = words_of_params(sweeper.get("params") or {})
        place, jobs, swept = _composed(composer, cfg, [*fixed, *overrides])
        identify(jobs)
        _require_one_run(jobs)
        base = shared_by([job.identity for job in jobs if job.identity], swept)
        plugins = next((job.settings.plugins for job in jobs if job.settings is not None), [])
        plan = cls(cfg, place, jobs, [], swept, base, code_version(plugins))
        plan._look()
        plan._check()
        return plan

    @property
    def to_do(self) -> list[Job]:
        """The jobs of this command that are to run."""
        return [job for job in self.jobs if job.state not in ("there", "impossible")]

    def _look(self) -> None:
        """Find the earlier jobs in the sweep's folder, and set the state of each job.

        Raises :class:`ConfigError` if the folder is another sweep's or a run's."""
        self.before = self._found()
        if self.before is not None:
            there = self._earlier(self.before)
            homes = {frozenset(job.values.items()): job.folder for job in there}
            for job in self.jobs:  # the same values have the same folder, in any order of the words
                job.folder = homes.get(frozenset(job.values.items()), job.folder)
            mine = {job.folder for job in self.jobs}
            self.earlier = [job for job in there if job.folder not in mine]
            for job in self.earlier:
                self._require_same_keys(job)
        for job in self.jobs:
            if job.cause is None:
                try:
                    job.state = _state(job, self.code)
                except DamagedError as error:
                    job.state, job.cause = "impossible", str(error)

    def _found(self) -> dict[str, Any] | None:
        """The content of ``sweep.json``; None if there is none.

        Raises :class:`ConfigError` if it is damaged."""
        if not (self.place / SWEEP).exists():
            return None
        try:
            return today(read_json(self.place / SWEEP, Sweep, "hydra.sweep.dir"))
        except ConfigError as error:
            valid = (
                f"has a damaged {SWEEP} ({error.valid}), which says what was swept; choose another"
                " folder"
            )
            raise ConfigError("hydra.sweep.dir", self.place, valid) from None

    def _earlier(self, before: Mapping[str, Any]) -> list[Job]:
        """The jobs of earlier commands.

        Raises :class:`ConfigError` if they are another sweep's."""
        self._require_same(before)
        return [
            Job(one["name"], dict(one["values"]), self.place / one["folder"])
            for one in before["jobs"]
        ]

    def _require_same_keys(self, job: Job) -> None:
        """Mark a job of other code as outdated, and refuse one that has a setting which the rest of
        the sweep lacks, or lacks one that the rest has.
        """
        facts = read_note(job.folder)
        ours = next((one.identity for one in self.jobs if one.identity), None)
        if facts is None or ours is None or not (job.folder / "config.yaml").exists():
            return
        if not same_code(facts.code, self.code):
            job.state = "outdated"
            return
        with suppress(DamagedError):  # reported when the run is read
            there = outside(saved_identity(job), self.swept)
            refuse_addition(job.folder, there, outside(ours, self.swept))

    def _require_same(self, before: Mapping[str, Any]) -> None:
        if set(before["swept"]) != set(self.swept):
            there, here = (", ".join(keys) or "nothing" for keys in (before["swept"], self.swept))
            valid = f"holds a sweep of {there}, and this one is of {here}: choose another folder"
            raise ConfigError("hydra.sweep.dir", self.place, valid)
        refuse_difference(self.place, "holds a sweep with", before["base"], self.base)

    def _check(self) -> None:
        """Check the jobs that are to run, with their data and plug-ins.

        Raises an error only if every job is impossible."""
        from swarm.experiments import runner

        for job in self.to_do[:MOST_JOBS_CHECKED]:
            try:
                runner.check(job.resolved)
            except ConfigError as error:
                job.state, job.cause = "impossible", str(error)
                if all(other.state == "impossible" for other in self.jobs):
                    raise _in(job, error) from error
        if all(job.state == "impossible" for job in self.jobs):
            raise UsageError(str(self.jobs[0].cause))

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Create the sweep's folder with ``sweep.json`` in it, and lock it within the block.

        Raises :class:`ConfigError` if another process has it, or it is another sweep's."""
        from swarm.results.folder import Folder
        from swarm.simulation import checkpoint

        self.place.mkdir(parents=True, exist_ok=True)
        with Folder(self.place).lock("hydra.sweep.dir"):
            if not (self.place / SWEEP).exists():
                require_no_run_in(self.place)
            if self._found() != self.before:  # another process has changed it in the meantime
                self._look()
            self._archive()
            facts = [job.facts(self.place) for job in (*self.earlier, *self.jobs)]
            value = {"schema": 1, "swept": self.swept, "base": self.base, "jobs": facts}
            checkpoint.write_json(self.place / SWEEP, value)
            yield

    def _archive(self) -> None:
        """Move away the runs of other code, which are neither mixed with new ones nor deleted."""
        for job in (*self.earlier, *self.jobs):
            if job.state != "outdated":
                continue
            archive(job.folder, self.place)
            job.state = "new"
            self.superseded += 1
        self.earlier = [job for job in self.earlier if job.state != "new"]


def _composed(
    composer: Composer, cfg: DictConfig, overrides: Sequence[str]
) -> tuple[Path, list[Job], list[str]]:
    """The sweep's folder, its jobs with their folders and parsed settings, and the swept keys."""
    jobs: list[Job] = []
    wrong: list[tuple[Job, SwarmError]] = []
    place, taken, swept = Path(), set[Path](), list[str]()
    with suppress(OmegaConfBaseException):  # reported below, for the first job
        cfg.hydra.sweep.dir  # noqa: B018  resolves ${now:} once, for all jobs
    for number, (words, varying) in enumerate(composer.jobs(overrides)):
        swept = list(varying)
        values = {
            key.lstrip("+~"): typed(parse([text])[0].value()) for key, text in varying.items()
        }
        job = Job(folder_name(values), values, Path(), words)
        jobs.append(job)
        try:
            config = composer.compose(words)
            place, job.folder = sweep_folder(cfg, config, number, job.name, taken)
            if not taken and not (place / SWEEP).exists():
                require_no_run_in(place)
            _require_inside(place, job.folder)
            taken.add(job.folder)
            job.settings = Settings.parse(config)
        except SwarmError as error:
            wrong.append((job, error))
    bad = {id(job) for job, _ in wrong}
    good = {word for job in jobs if id(job) not in bad for word in job.overrides}
    for job, reason in wrong:
        _require_single(job, reason, good)
        job.state, job.cause = "impossible", str(reason)
        job.folder = place / job.name
    return place, jobs, [key.lstrip("+~") for key in swept]


def _require_one_run(jobs: Sequence[Job]) -> None:
    """Refuse claims and suites, which run their seeds themselves."""
    from swarm.experiments.claims.base import Claim, Suite

    for job in jobs:
        if job.resolved is not None and isinstance(job.resolved.scenario, Claim | Suite):
            name = choice("scenario", job.resolved.settings.scenario)
            valid = (
                f"scenario={name} judges a claim by many runs: start it without -m"
                " (scenario=all runs all claims)"
            )
            raise UsageError(valid)


def _require_inside(place: Path, folder: Path) -> None:
    """Refuse a job's folder that is the sweep's own, or lies outside of it: both have a
    summary.json, and a job's folder is moved as a whole.
    """
    inside = folder.relative_to(place).parts if folder.is_relative_to(place) else ()
    if not inside or ".." in inside:
        raise ConfigError(
            "hydra.sweep.subdir",
            folder,
            f"must be a folder in {place}; auto makes one for each job",
        )


def _require_single(job: Job, error: SwarmError, good: set[str]) -> None:
    """Raise ``error`` if its value is wrong in every combination, such as a misspelling; not if
    only this combination is impossible.
    """
    if not isinstance(error, ConfigError) or error.key.startswith("hydra."):
        raise error
    blamed = [word for word in job.overrides if word.lstrip("+~").partition("=")[0] == error.key]
    if not blamed or blamed[-1] not in good:
        raise _in(job, error) from error


def _in(job: Job, error: ConfigError) -> ConfigError:
    place = f" (in the job {job.title})" if job.values else ""
    return ConfigError(error.key, error.value, error.valid + place)


def _state(job: Job, code: Mapping[str, Any]) -> str:
    """The state of a job, which follows from its folder.

    Raises :class:`ConfigError` if the folder is not this job's."""
    facts = read_note(job.folder)
    if not (job.folder / "config.yaml").exists():
        if facts is None:
            require_new(job.folder, "hydra.sweep.dir", job.folder.parent)
        return "new"
    if facts is None and (job.folder / FILE).exists():
        raise DamagedError("hydra.sweep.dir", job.folder, f"has a damaged {FILE}; {ANEW}")
    if facts is None:
        valid = f"{job.folder} holds a run already: choose another hydra.sweep.dir"
        raise ConfigError("hydra.sweep.dir", job.folder.parent, valid)
    there = saved_identity(job)
    if not same_code(facts.code, code):
        return "outdated"
    refuse_difference(job.folder, "holds a run with", there, job.identity)
    refuse_addition(job.folder, there, job.identity)
    # a process that was killed after the last file may not have told its tracker everything
    there_already = finished(job.folder) and facts.status != "running"
    return "there" if there_already else "resumed"
