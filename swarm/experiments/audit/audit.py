"""The audit of a run: how well attacks find out which samples its devices have learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from swarm.common.errors import ConfigError, DivergedError, counted
from swarm.common.plugin import absent
from swarm.config.choices import choice
from swarm.experiments.audit.attacks import auc_interval, lira, lira_offline, logit_scaled
from swarm.experiments.audit.swarms import FINAL, MESSAGE, Played, play
from swarm.experiments.loading import LoadedRun, load
from swarm.experiments.resolved import with_lr
from swarm.experiments.runs.prepared import PreparedRun
from swarm.simulation.metrics.formulas import found_at
from swarm.simulation.metrics.membership import RATES

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Say = Callable[[str], object]

AUDITED = 2  # swarms that are attacked: each sample is in one of them and not in the other
FEWEST = 4  # shadows, of which each sample is in two and not in two


@dataclass(frozen=True)
class Audit:
    """What an audit has found.

    Attributes:
        table: A row for each pair of what is ``seen`` (``message``: what a device was heard with
            last;
            ``final``: its model at the end) and ``attack`` (``threshold`` on the
            loss, ``lira``, ``lira_offline``). It has the ``auc`` with the ends ``auc_low`` and
            ``auc_high`` of its 95% interval, and ``tpr_1`` and ``tpr_01``, the shares of members
            found at 1% and 0.1% of false positives (NaN of too few samples).
        arm: The arm that was audited.
        samples: The number of samples that were asked about: those of honest devices.
        shadows: The number of shadow swarms.
        epsilon: The largest ε that an honest device of an audited swarm has spent; None where none
            is counted.
        notes: What the table does not say, a sentence each.
    """

    table: pd.DataFrame
    arm: str
    samples: int
    shadows: int
    epsilon: float | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = self.table.copy()
        shown["AUC (95% interval)"] = [
            f"{row.auc:.3f} ({row.auc_low:.3f} to {row.auc_high:.3f})" for row in shown.itertuples()
        ]
        for end, rate in RATES.items():
            shown[f"found at {100 * rate:g}%"] = [
                "–" if np.isnan(each) else f"{each:.1%}" for each in shown[f"tpr_{end}"]
            ]
        kept = shown.drop(columns=[c for c in shown if str(c).startswith(("auc", "tpr"))])
        spent = "" if self.epsilon is None else f", ε = {self.epsilon:.3g}"
        head = (
            f"{self.arm}: {counted(self.samples, 'sample')},"
            f" {counted(self.shadows, 'shadow swarm')}{spent}"
        )
        return "\n".join((head, kept.to_string(index=False), *self.notes))


def audit(
    run: str | Path | LoadedRun,
    shadows: int = 8,
    arm: str | None = None,
    trust: bool = False,
    say: Say | None = None,
) -> Audit:
    """Attack swarms that are set up as a finished run is, and count how often attacks are right.

    Two swarms are audited. Each learns from one half of every device's samples and never meets the
    other, so that members and others differ in nothing but in having been learnt from. ``shadows``
    more swarms, each with half of the samples too, show LiRA what membership looks like. All have
    the run's settings and data, and draws of their own; ``arm`` (default: the arm that the run puts
    in front) names whose devices they have. Only samples of honest devices are asked about. ``say``
    is told after each swarm. Nothing is written.

    Raises:
        ConfigError: There is no such finished run or arm, an odd number of shadows or fewer than 4
            is asked for, the data are no classes or a stream, the run has no common rounds, an
            honest device of one of the swarms diverges or has too few samples to be halved, or the
            run has plug-ins and ``trust`` is needed.
    """
    if not isinstance(shadows, int) or shadows < FEWEST or shadows % 2:
        raise ConfigError("shadows", shadows, f"must be an even number from {FEWEST} on")
    loaded = run if isinstance(run, LoadedRun) else load(run)
    if not isinstance(loaded, LoadedRun):
        raise ConfigError("/run folder", str(run), "must be one run; a sweep has a folder for each")
    name = loaded.lead if arm is None else arm
    tuning = (loaded.summary or {}).get("tuning", {})
    if loaded.summary is None or name not in tuning:
        if loaded.summary is None:
            raise ConfigError("/run folder", loaded.folder, "must be a finished run")
        raise ConfigError("arm", name, f"must be one of {', '.join(tuning)}")
    look = partial(_played, name=name, tuning=tuning[name], shadows=shadows, say=say)
    swarms, notes = loaded.with_prepared(trust, look)
    spent = [each.epsilon for each in swarms[:AUDITED] if each.epsilon is not None]
    samples, epsilon = len(swarms[0].inside_A), max(spent) if spent else None
    if (heard := int(_readable(swarms, MESSAGE).sum())) not in (0, samples):
        notes += (
            f"Messages are those of {counted(heard, 'sample')}: other devices were not heard.",
        )
    return Audit(table(swarms), name, samples, shadows, epsilon, notes)


def _played(
    prepared: PreparedRun, name: str, tuning: dict[str, float], shadows: int, say: Say | None
) -> tuple[list[Played], tuple[str, ...]]:
    """The swarms of an audit, the audited ones first, and what is to be said of them."""
    arm = next(one for one in prepared.arms if one.name == name)
    settings = with_lr(arm.variants[int(tuning["variant"])], tuning["lr"])
    experiment = prepared.experiment(arm, settings)
    if not prepared.engine.common_rounds:
        valid = "must be local or ray: an audit plays common rounds, of which a live run has none"
        raise ConfigError("engine", choice("engine", prepared.settings.engine), valid)
    if experiment.data.policy.streams:
        valid = "must be epochs: an audit asks about samples that devices hold from the start"
        raise ConfigError("update", choice("update", settings.update), valid)
    if not experiment.model.test_loss.gives_probabilities:
        valid = "must be data with classes, and train.loss=cross_entropy, as it gives confidences"
        raise ConfigError("data", choice("data", settings.data), valid)
    found = []
    for number in range(AUDITED + shadows):
        try:
            found.append(play(prepared, arm, settings, number))
        except DivergedError as error:
            valid = f"gives a swarm of the audit in which {error}; a smaller optimizer.lr would do"
            raise ConfigError("arm", name, valid) from error
        if say is not None:
            say(f"{number + 1} of {AUDITED + shadows} swarms")
    if absent(experiment.model.personal):
        return found, ()
    own = f"personal={choice('personal', settings.personal)}"
    return found, (f"The models are the shared ones, and not those that {own} gives each device.",)


def _readable(swarms: list[Played], seen: str) -> Bools:
    """Of which samples ``seen`` shows a model in every one of the swarms, ``[A]``."""
    there_A = np.ones(len(swarms[0].inside_A), bool)
    for each in swarms:
        there_A &= seen in each.loss_A and ~np.isnan(each.loss_A[seen])
    return there_A


def table(swarms: list[Played]) -> pd.DataFrame:
    """The table of :class:`Audit` of swarms, of which the first two are attacked with the others as
    shadows."""
    audited, shadows = swarms[:AUDITED], swarms[AUDITED:]
    rows = []
    for seen in (MESSAGE, FINAL):
        there_A = _readable(swarms, seen)
        if not there_A.any():
            continue
        inside_SA = np.stack([each.inside_A[there_A] for each in shadows])
        inside = np.concatenate([each.inside_A[there_A] for each in audited])
        phi_SA = np.stack([logit_scaled(each.loss_A[seen][there_A]) for each in shadows])
        scores: dict[str, list[Floats]] = {"threshold": [], "lira": [], "lira_offline": []}
        for each in audited:
            loss_A = each.loss_A[seen][there_A]
            phi_A = logit_scaled(loss_A)
            scores["threshold"].append(-loss_A)
            scores["lira"].append(lira(phi_A, phi_SA, inside_SA))
            scores["lira_offline"].append(lira_offline(phi_A, phi_SA, inside_SA))
        for attack, parts in scores.items():
            score = np.concatenate(parts)
            rows.append({"seen": seen, "attack": attack, **_rated(score[inside], score[~inside])})
    return pd.DataFrame(rows)


def _rated(own: Floats, other: Floats) -> dict[str, float]:
    area, low, high = auc_interval(own, other)
    rates = {
        f"tpr_{end}": found_at(rate, own, other) if rate * len(other) >= 1 else np.nan
        for end, rate in RATES.items()
    }
    return {"auc": area, "auc_low": low, "auc_high": high, **rates}
