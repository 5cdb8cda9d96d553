"""Reads runs and sweeps back into Python: their numbers, their data, and their devices' outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from swarm.common.errors import ConfigError, counted
from swarm.common.plugin import blamed
from swarm.common.rows import frozen_parameters
from swarm.config.schema import read_json
from swarm.config.settings import Settings
from swarm.data.dataset import Dataset
from swarm.experiments.resolved import resolve
from swarm.experiments.runs.prepared import PreparedRun
from swarm.experiments.sweep.gather import SweepResults, gather
from swarm.experiments.sweep.job import Job
from swarm.experiments.writing import written
from swarm.results import load as folders
from swarm.results.folder import Folder
from swarm.results.folder.kept_tokens import with_kept_tokens
from swarm.results.folder.saved_rows import saved_rows
from swarm.results.load import SWEEP, Run
from swarm.results.schemas import Sweep
from swarm.results.status import finished
from swarm.results.trust import admitted
from swarm.simulation.experiment import Experiment

Split = Literal["train", "validation", "test"]
Array = npt.NDArray[Any]
AT_ONCE = 1024  # samples that a device predicts at once
T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class LoadedRun(Run):
    """A run read back: its numbers (:class:`~swarm.results.load.Run`), its data and its models."""

    def __repr__(self) -> str:
        state = "finished" if self.summary is not None else "unfinished"
        rounds = int(self.metrics["round"].max()) if len(self.metrics) else 0
        arms = ", ".join(self.arms) or "no records"
        return f"<run {str(self.folder)!r}: {state}, {counted(rounds, 'round')}; {arms}>"

    def dataset(self, split: Split, trust: bool = False) -> tuple[Array, Array]:
        """The samples of one split as the devices saw them: features ``[S, …]``, and labels or
        targets ``[S, …]``.

        They are generated or read again, from the run's own configuration.

        Raises:
            ConfigError: There is no such split, the data are not there any more, or the run has
                plug-ins and ``trust`` is needed (docs/results.md says when).
        """
        if split not in ("train", "validation", "test"):
            raise ConfigError("/split", split, "must be train, validation or test")
        data = self.with_prepared(trust, lambda prepared: prepared.dataset)
        ids = getattr(data, split)
        return data.x[ids], data.y[ids]

    def predict(
        self,
        arm: str,
        device: int | str,
        x: Array | None = None,
        trust: bool = False,
        best: bool = False,
        own: bool = False,
    ) -> Array:
        """The outputs of one device's newest model, or with ``best`` of that of the arm's best
        round, ``[S, C]``: logits, or regression targets. With ``own`` they are those of the model
        that the device uses on its own data (:meth:`own_state_dict`).

        ``x`` are samples ``[S, …]``, scaled as those of the run; by default the test split.

        Raises:
            ConfigError: There is no such arm or device, the samples have another shape, or
                :meth:`dataset` would raise it.
        """
        module, prepared = self.model(arm, device, best, trust, own)
        x = prepared.dataset.x[prepared.dataset.test] if x is None else np.asarray(x)
        if x.shape[1:] != prepared.dataset.features:
            valid = f"must be samples of shape {list(prepared.dataset.features)}, one a row"
            raise ConfigError("/x", list(x.shape), valid)
        samples = torch.as_tensor(x)
        if samples.is_floating_point():
            samples = samples.to(next(module.parameters()).dtype)
        with torch.no_grad():
            parts = [module(part) for part in torch.split(samples, AT_ONCE)]
        return np.asarray(torch.cat(parts).numpy())

    def write(
        self,
        arm: str,
        device: int | str,
        prompt: str = "",
        length: int = 200,
        temperature: float = 1.0,
        seed: int = 0,
        trust: bool = False,
        best: bool = False,
        own: bool = False,
    ) -> str:
        """What one device's newest model of text writes after ``prompt``: ``length`` tokens, which
        are characters unless ``data.tokens`` says otherwise.

        Each is drawn with probabilities ∝ exp(z / ``temperature``) from the model's logits z; a low
        temperature keeps to the probable ones, and 0 takes the most probable. ``seed`` decides
        the draws. ``best`` and ``own`` are as in :meth:`predict`.

        Raises:
            ConfigError: There is no such arm or device, the run's data are no text, its model does
                not predict the next token, the prompt has a character that the run does not
                tell apart, a number is out of range, or :meth:`dataset` would raise it.
        """
        module, prepared = self.model(arm, device, best, trust, own)
        data = self.tokens_kept(prepared.dataset)
        return written(module, data, prompt, length, temperature, seed)

    def tokens_kept(self, data: Dataset) -> Dataset:
        """``data``, with the tokens that the run has learnt with: those in its folder, if any."""
        return with_kept_tokens(self.folder, data)

    def own_state_dict(
        self, arm: str, device: int | str, trust: bool = False, best: bool = False
    ) -> dict[str, Tensor]:
        """The parameters of the model that one device uses on its own data, as :meth:`state_dict`
        gives those of the shared one; the same where the arm has no ``personal``.

        Raises:
            ConfigError: There is no such arm or device, or :meth:`dataset` would raise it.
        """
        shared = self.state_dict(arm, device, best)
        experiment = self.with_prepared(trust, lambda prepared: _experiment(prepared, arm))
        return shared | self._own(experiment, arm, device, best)

    def _own(
        self, experiment: Experiment, arm: str, device: int | str, best: bool
    ) -> dict[str, Tensor]:
        """The parameters of a device's own model."""
        arrays = saved_rows(self.folder, arm, self.arms, best).arrays
        number = self.device(device) if isinstance(device, str) and len(arrays["x"]) > 1 else device
        one, prefix = slice(int(number), int(number) + 1), "personal."
        kept = {
            name.removeprefix(prefix): arrays[name][one]
            for name in arrays
            if name.startswith(prefix)
        }
        row_1P = experiment.model.personal.model(arrays["x"][one], kept)
        its = experiment.model.of_device(int(number))
        return its.layout.state_dict(experiment.model.own_row(row_1P[0], int(number)))

    def model(
        self,
        arm: str,
        device: int | str,
        best: bool = False,
        trust: bool = False,
        own: bool = False,
    ) -> tuple[nn.Module, PreparedRun]:
        """The model of one device, or its ``own``, ready to predict, and the run that it is from,
        prepared once more.

        Raises:
            ConfigError: There is no such arm or device, or :meth:`dataset` would raise it.
        """
        state = self.state_dict(arm, device, best)
        prepared = self.with_prepared(trust, lambda prepared: prepared)
        experiment = _experiment(prepared, arm)
        if own:
            state |= self._own(experiment, arm, device, best)
        number = self.device(device) if isinstance(device, str) else device
        module = experiment.model.of_device(int(number)).module().to(experiment.dtype).eval()
        # a frozen base that is too large to be saved is what the run's file holds
        module.load_state_dict({**frozen_parameters(module), **state})
        return module, prepared

    def with_prepared(self, trust: bool, look: Callable[[PreparedRun], T]) -> T:
        """What ``look`` makes of the run, prepared once more from its own configuration.

        Raises:
            ConfigError: :meth:`dataset` would raise it, or ``look`` does.
        """
        with blamed(), admitted(self.folder, {}, trust):
            resolved = resolve(Settings.parse(self.config))
            noise = Folder(self.folder).progress().get("noise", {})
            return look(PreparedRun.prepare(replace(resolved, noise=noise)))


def _experiment(prepared: PreparedRun, arm: str) -> Experiment:
    """The experiment of the arm of this name."""
    its = next(one for one in prepared.arms if one.name == arm)
    return prepared.experiment(its, its.first)


def load(folder: str | Path) -> LoadedRun | SweepResults:
    """Read the folder of a run, finished or not, or that of a sweep.

    For a sweep it gives the finished runs, with means and intervals over the seeds. No code that
    the folder names is run; :meth:`LoadedRun.dataset` and :meth:`LoadedRun.predict` may have to.

    Raises:
        ConfigError: The folder is neither, one of its files is damaged, or no run of the sweep is
            finished.
    """
    place = Path(folder)
    if not (place / SWEEP).is_file():
        run = folders.load(place)
        return LoadedRun(**{field.name: getattr(run, field.name) for field in fields(Run)})
    jobs = [
        Job(one["name"], dict(one["values"]), place / one["folder"], state="finished")
        for one in read_json(place / SWEEP, Sweep, "/folder")["jobs"]
    ]
    found = gather([job for job in jobs if finished(job.folder)])
    if found is None:
        raise ConfigError("/folder", folder, "is a sweep of which no run is finished yet")
    return found
