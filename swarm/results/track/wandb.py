"""Weights & Biases as a mirror of ``metrics.jsonl``: one W&B run per arm, offline unless asked
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from swarm.common.errors import ConfigError
from swarm.common.system.machine import is_installed
from swarm.results import columns
from swarm.results.columns import for_trackers
from swarm.results.presentation import Presentation, stored
from swarm.results.track import wandb_environment, wandb_files, wandb_names
from swarm.results.track.base import SweepRecord, Tracker, device_scores
from swarm.results.track.jsonl import plain
from swarm.results.track.wandb_start import packages_listed, silenced, without_launch
from swarm.results.track.wandb_sweep import SWEEP, panels

REPORT = "report"  # the job type of the run that holds the pictures; no arm of ours is called so
MOST_HTML = 20 << 20  # bytes of a page that is shown in W&B; larger ones are only kept as files
ANSWERS_S = 60.0  # beside the start, no call or record takes longer
Name = Annotated[str, Field(min_length=1, max_length=wandb_environment.LONGEST_NAME)]
Tag = Annotated[str, Field(min_length=1, max_length=wandb_environment.LONGEST_TAG)]


class WandbTracker(Tracker):
    """Mirrors each arm into a W&B run: group = the run (or the sweep), job type = the arm, x-axis =
    ``round``. A W&B run begins with its first record, so that none is empty.

    Each has its arm's own config, with ``arm`` and the learning rate that was chosen. Metric names
    are those of ``metrics.jsonl``. Only scalars go out (quantiles over devices are among them), and
    a histogram of the devices' main scores where a record brings them (``_device_accuracy``); rows
    per device stay in ``devices.parquet``. The run's pictures and its page go to one more W&B run
    of the group, of job type ``report``.

    A resumed arm keeps its id, which ``wandb.json`` in the run folder holds. W&B does not merge
    offline runs, so a resumed offline arm is written again in full from ``metrics.jsonl`` and takes
    the place of the part that was not uploaded yet. The leading arm's run stays open until all arms
    are over, as what the scenario declared for trackers belongs into its summary.

    Under ``wandb agent`` the leading arm is the run that the agent has begun, and no other arm has
    one: each run of a W&B sweep is one combination of its parameters.

    Errors are not handled here: :class:`~swarm.results.track.base.Fanout` turns the first one into
    a warning.

    Args:
        folder: The run folder; W&B's files go to ``folder/wandb``.
        run: Name of the run, the W&B group.
        config: The resolved config of the whole run, for the run that holds the pictures.
        versions: Of what the numbers depend on; they join the config.
        mode: ``offline`` (upload later with ``wandb sync``), ``online``, or ``disabled``; ``None``
            for what ``WANDB_MODE`` says (or ``WANDB_DISABLED=true``), else ``offline``.
        project: W&B project; ``None`` for ``WANDB_PROJECT``, else ``swarm``.
        entity: W&B user or team; ``None`` for ``WANDB_ENTITY``, else the account's default.
        tags: W&B tags; ``None`` for those of ``WANDB_TAGS``.
        init_timeout: Seconds to wait for W&B to start.
        group: W&B group; ``None`` for ``WANDB_RUN_GROUP``, else ``run``. The runs of a sweep share
            one.
        name: What the arm's W&B run is called, before the arm; ``None`` for the chosen options and
            the seed (:func:`swarm.results.track.wandb_names.title`).

    Raises:
        ConfigError: wandb is not installed, or the environment says what cannot be.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        config: dict[str, Any],
        versions: dict[str, str] | None = None,
        mode: Literal["offline", "online", "disabled"] | None = None,
        project: Annotated[Name, Field(pattern=wandb_environment.PROJECT)] | None = None,
        entity: str | None = None,
        tags: list[Tag] | None = None,
        init_timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0,
        group: Name | None = None,
        name: Name | None = None,
    ) -> None:
        self.mode = wandb_environment.mode("offline") if mode is None else mode
        if self.mode != "disabled" and not is_installed("wandb"):
            valid = (
                "needs wandb; `pip install wandb` brings it, tracker=none or tracker.mode=disabled"
                " does without"
            )
            raise ConfigError("/tracker", "wandb", valid)
        # Absolute: W&B's service process keeps the working directory that this process had when it
        # started it.
        self.folder = folder.absolute()
        self.run, self.config = run, {**config, **({"versions": versions} if versions else {})}
        if self.mode != "disabled":
            project = project or wandb_environment.project("swarm")
            tags = wandb_environment.tags() if tags is None else list(tags)
            group = group or wandb_environment.group()
        self.project, self.entity = project, entity or wandb_environment.entity()
        self.tags, self.init_timeout = tags, init_timeout
        self.group, self.name = group or run, name
        # W&B's own process takes its time to answer; online it may also have something to say
        self.deadline_s = init_timeout + ANSWERS_S if self.mode == "offline" else None
        self._run: Any = None
        self._started = False  # whether one run of this process has the list of packages
        self._next: str | None = None  # the arm whose W&B run begins with its first record
        self._waiting: Any = None  # the leading arm's run, over but for the scenario's numbers
        self._over: set[str] = set()  # arms
        self._configs: dict[str, dict[str, Any]] = {}
        self._concluded: dict[str, Any] = {}

    @classmethod
    def options_of_job(
        cls, sweep: str, config: Mapping[str, Any], swept: Mapping[str, str]
    ) -> dict[str, str]:
        """The W&B group of the sweep, and the job's name: its options and swept values."""
        group, most = wandb_environment.group() or sweep, wandb_environment.LONGEST_NAME
        return {"group": group[:most], "name": wandb_names.title(config, swept)[:most]}

    def configure(self, arm: str, config: dict[str, Any]) -> None:
        """Keeps the arm's config for its W&B run."""
        versions = {key: value for key, value in self.config.items() if key == "versions"}
        self._configs[arm] = {**config, **versions}

    def start(self, arm: str, rounds: int, done: int) -> None:
        """Goes on with the W&B run of an arm that has records; that of any other begins with its
        first record.

        Raises as :meth:`record`.
        """
        self._next = arm if self.mode != "disabled" and self._has_a_run(arm) else None
        if done > 0:
            self._begin(replaces=True)

    def record(self, record: dict[str, Any]) -> None:
        """Logs the scalars of one round, and the histogram if there is one.

        Raises:
            Exception: whatever W&B raises when it cannot start in time, or has no API key in online
                mode.
        """
        self._begin(replaces=False)
        if self._run is None:
            return
        kept = {key: record[key] for key in record if key != "arm" and not key.startswith("_")}
        values: dict[str, Any] = {key: plain(value) for key, value in kept.items()}
        values = {key: value for key, value in values.items() if value is not None}
        values |= {name: _histogram(each) for name, each in device_scores(record).items()}
        self._run.log(values)

    def finish(self, arm: str, summary: dict[str, Any]) -> None:
        """Writes the arm's final metrics to the W&B summary and ends its run (as failed where the
        arm diverged).

        The leading arm's stays open until :meth:`conclude`: W&B cannot add to an offline run that
        is over.
        """
        self._next = None
        if self._run is None:
            return
        scalars = {
            key: value
            for key, value in summary.items()
            if isinstance(value, str | int | float | np.generic)
        }
        diverged = summary.get("diverged")
        if diverged:
            scalars |= {f"diverged_{key}": value for key, value in diverged.items()}
        best = summary.get("early_stopping") or {}
        scalars |= {f"early_stopping_{key}": value for key, value in best.items()}
        self._run.summary.update({key: plain(value) for key, value in scalars.items()})
        self._over.add(arm)
        if arm == _waits_for_the_end(stored.read(self.folder)) and not diverged:
            self._waiting, self._run = self._run, None
        else:
            self._end(1 if diverged else 0, arm)

    def conclude(self, summary: dict[str, Any]) -> None:
        """Writes the numbers that the scenario declared into the summary of the leading arm's W&B
        run, and ends that run. Of the arms that were over before the run was resumed, those whose
        W&B run had not ended are written first.
        """
        arms, lead = summary.get("arms", {}), _waits_for_the_end(stored.read(self.folder, summary))
        earlier = [arm for arm in arms if arm not in self._over]
        again = {lead, *self.missing(earlier)}
        for arm in [arm for arm in earlier if arm in again]:
            self.start(arm, arms[arm]["rounds"], done=max(1, arms[arm]["rounds"]))
            self.finish(arm, for_trackers(arms[arm], columns.read(self.folder)))
        if self.mode == "disabled" or lead not in arms:
            return
        self._concluded = self._figures(summary)
        self._end_waiting(self._concluded, lead)

    def missing(self, arms: Sequence[str], files: Sequence[Path] = ()) -> list[str]:
        """The arms with records whose offline W&B run has not ended or is behind, and
        ``report``."""
        if self.mode != "offline":
            return []
        rounds = wandb_files.rounds_by_arm(self.folder)
        told = [*(arm for arm in arms if arm in rounds), *([REPORT] if files else [])]
        rounds[REPORT] = max(rounds.values(), default=0)
        found = wandb_files.unfinished(self.folder, {arm: rounds[arm] for arm in told})
        return [arm for arm in found if self._has_a_run(arm)]

    def attach(self, files: Sequence[Path]) -> None:
        """Logs pictures and pages into a run of their own, beside those of the arms, and keeps them
        among its files.
        """
        if self.mode == "disabled" or not files or wandb_environment.agents_run():
            return
        import wandb

        with silenced():
            self._run = self._init(REPORT, replaces=True)
            found: dict[str, Any] = {}
            for path in files:
                # W&B sorts out what it is given by its kind; other files are only kept.
                if path.suffix == ".png":
                    found[path.stem] = wandb.Image(str(path))
                elif path.suffix == ".html" and path.stat().st_size < MOST_HTML:
                    found[path.stem] = wandb.Html(path.read_text(encoding="utf-8"), inject=False)
            self._run.log(found)
            self._run.summary.update(self._concluded or self._figures())
            for path in (*files, self.folder / "config.yaml", self.folder / "summary.json"):
                if path.is_file():
                    self._run.save(str(path), base_path=str(self.folder), policy="now")
        self._drop_replaced(REPORT)
        self._end(0, REPORT)

    def record_sweep(self, found: SweepRecord) -> None:
        """Logs the curves, the table and the picture of a sweep as one run in the group of its
        jobs, offline or online as they were."""
        if self.mode == "disabled":
            return
        import wandb

        self.name, self.group = self.run, self.group[: wandb_environment.LONGEST_NAME]
        with silenced():
            self._run = self._init(SWEEP, replaces=True)
            self._run.log(panels(wandb, found))
        self._drop_replaced(SWEEP)
        self._end(0)

    def close(self) -> None:
        """Ends an arm that was cut short. W&B's service process goes with this process."""
        if self._run is not None:
            self._end(1)
        self._end_waiting({}, None)

    def _has_a_run(self, arm: str) -> bool:
        if not wandb_environment.agents_run():
            return True
        known = stored.read(self.folder)
        return arm == (known.lead(known.arms) or arm)

    def _begin(self, replaces: bool) -> None:
        """Begins the W&B run of the arm that was started last, unless it has begun."""
        arm, self._next = self._next, None
        if arm is None:
            return
        with silenced():
            self._run = self._init(arm, replaces)
            self._run.define_metric("round", hidden=True)
            self._run.define_metric("*", step_metric="round")
        if self.mode == "offline":
            if replaces:
                self._replay(arm)
            self._drop_replaced(arm)

    def _init(self, arm: str, replaces: bool = False) -> Any:
        import wandb  # 0.7 s, and not needed at all in mode disabled

        online = self.mode == "online"
        # without this, init asks for a key in the terminal, and waits
        if online and not wandb.login(prompt=False):
            raise RuntimeError(
                "no W&B API key; `wandb login` stores one, tracker.mode=offline needs none"
            )
        settings = wandb.Settings(
            console="off", silent=True, quiet=True, show_errors=False, show_warnings=False,
            init_timeout=self.init_timeout, **packages_listed(wandb.Settings, not self._started),
        )  # fmt: skip
        # W&B would otherwise move to the system's temporary folder
        self.folder.mkdir(parents=True, exist_ok=True)
        wandb_files.mark_begun(self.folder, self._id(arm))
        if not online:
            wandb_files.rename_parts(self.folder, self._id(arm))
        name = self.name or wandb_names.title(self.config) or self.run
        with without_launch():
            run = wandb.init(
                project=self.project, entity=self.entity, tags=self.tags or None,
                config=self._configs.get(arm, self.config), allow_val_change=replaces,
                id=self._id(arm), name=wandb_names.of_arm(name, arm), group=self.group,
                job_type=arm, mode="online" if online else "offline",
                resume="allow" if online else None, reinit="create_new", dir=str(self.folder),
                settings=settings,
            )  # fmt: skip
        self._started = True
        wandb.termsetup(settings, None)  # else it speaks of the files that it keeps
        return run

    def _replay(self, arm: str) -> None:
        for record in wandb_files.records(self.folder, arm):
            self.record(record)
            self.steps += 1

    def _figures(self, summary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the scenario declared for trackers, of ``summary`` or that of the folder."""
        summary = wandb_files.summary(self.folder) if summary is None else summary
        found = stored.read(self.folder, summary).figures("tracker", summary)
        return {key: value for key, value in found.items() if value is not None}

    def _id(self, arm: str) -> str:
        return wandb_files.id_of(self.folder, self.run, arm)

    def _drop_replaced(self, arm: str) -> None:
        wandb_files.drop_replaced(self.folder, self._id(arm))

    def _end_waiting(self, figures: dict[str, Any], whole: str | None) -> None:
        if self._waiting is not None:
            self._run, self._waiting = self._waiting, None
            self._run.summary.update(figures)
            self._end(0, whole)

    def _end(self, exit_code: int, whole: str | None = None) -> None:
        """Ends the W&B run; ``whole`` is its arm if all was said."""
        run, self._run = self._run, None
        with silenced():
            run.finish(exit_code=exit_code)
        if whole is not None:
            rounds = wandb_files.rounds_by_arm(self.folder)  # those of the report are all there are
            most = rounds.get(whole, max(rounds.values(), default=0))
            wandb_files.mark_ended(self.folder, self._id(whole), most)


def _waits_for_the_end(shown: Presentation) -> str:
    """The arm whose summary has the scenario's own numbers, which are known when all arms are over;
    empty where there are none.
    """
    return shown.lead(shown.arms) if shown.on("tracker") else ""


def _histogram(values_N: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    import wandb

    return wandb.Histogram(np_histogram=np.histogram(values_N[np.isfinite(values_N)], bins=32))
