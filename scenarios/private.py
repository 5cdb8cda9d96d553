"""Claim 15: privacy without exposing users. The ε of every sample, or of every device, is bounded
ever more tightly."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import pandas as pd
from pydantic import Field

from scenarios import ARMS, arms
from swarm.common.errors import ConfigError
from swarm.common.statistics import Bound
from swarm.experiments.claims.base import Claim, Condition, Count, Hypothesis, SizedBudget, Verdict
from swarm.experiments.claims.charts import Chart
from swarm.experiments.claims.results import Figure, Mean, Results, Text
from swarm.learning.privacy.accountant import require_library
from swarm.learning.privacy.noise import noise_for

ACCURACY, FOUND, SPENT = "accuracy_mean", "membership_auc_mean", "epsilon_max"
PLAIN, SAMPLE, DEVICE, SUM = "nothing", "sample", "device", "device with secure sums"
UNITS: dict[str, dict[str, Any]] = {
    SAMPLE: {"privacy": "sample_level"},
    DEVICE: {"privacy": "device_level"},
    # the devices make the noise of the sum together, and the server sees nothing but the sum
    SUM: {
        "privacy": "device_level",
        "privacy.noise": "distributed",
        "protocol": "fedavg",
        "topology": "none",
        "secure_sum": "bonawitz",
        "secure_sum.range": 1024,  # the noise of ε = 1 leaves the default of 16
    },
}
DELTA = 1e-5
JUDGED = 8.0  # the ε that is judged; smaller ones are reported
AT = f"{JUDGED:g}"
ENOUGH = 0.9  # of the accuracy without privacy
CHANCE = 0.51  # an AUC of 0.5 is chance
UNBOUNDED = "inf"
UNPROTECTED = {"protects": PLAIN, "epsilon": UNBOUNDED}
RULE = (
    f"confirmed if at ε = {JUDGED:g} the swarm keeps more than {ENOUGH:.0%} of the accuracy of the"
    f" same swarm without privacy and the AUC is below {CHANCE:g}, while without privacy it is"
    f" above {CHANCE:g}, all with their 95% intervals; refuted if one of the first two is on the"
    " other side with its interval; undecided if without privacy the attack finds nothing either"
)
METRIC = (
    "final accuracy, mean over devices, as a share of that without privacy, paired by seed; AUC of"
    " membership inference by the loss of each device's final model, mean over devices"
)
NOTHING_TO_FIND = (
    "a swarm that gives its members away where nothing protects them: in this one the attack finds"
    " nothing, which more seeds do not change"
)
UNCLEAR = "more seeds, which tell whether the attack finds anything where nothing protects them"


class PrivateBudget(SizedBudget):
    """``epsilons`` are the bounds that are tried, with 8 among them. Each device learns from
    ``samples``, takes ``steps`` a round on mini-batches of ``batch``, and clips the gradient of a
    sample, or its own change of a round, to ``clip_norm``."""

    samples: Count
    batch: Count
    steps: Count
    epsilons: list[Annotated[float, Field(gt=0)]]
    clip_norm: dict[str, float]


class Private(Claim):
    """The same gossiping swarm without privacy, with clipping alone (ε = ∞), and with noise that
    bounds ε over the whole run: of each sample (DP-SGD), or of each device, which makes all of the
    noise itself and trusts nobody. Beside them stands a server that adds up masked changes (secure
    sums), so that the devices need no more than their shares of the noise of the sum. The noise of
    an ε is worked out before the run, from the steps and the share of samples in each. All have the
    same samples, steps and learning rate.

    As many samples as a device learns from are held out, of the same kind, for the attack to tell
    them from: the test set has real digits, and devices learn from generated ones.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            15,
            "Privacy without exposing users: a swarm that protects every sample learns as well, and"
            " nobody can tell which samples it has learnt from.",
            METRIC,
            RULE,
        ),
        Hypothesis(
            15,
            "Privacy without exposing users: a swarm that protects every device as a whole, and"
            " trusts nobody, learns as well, and nobody can tell which samples it has learnt from.",
            METRIC,
            RULE,
        ),
        Hypothesis(
            15,
            "Privacy without exposing users: devices that are protected as a whole, and whose"
            " server sees masked sums only, learn as well, and nobody can tell which samples they"
            " have learnt from.",
            METRIC,
            RULE,
        ),
    )
    untested = (
        "Noise that neighbours share; secure sums of neighbourhoods; more devices than 8, which "
        "average more noise away, above all behind a server, and whose models tell less of their "
        "members: 32 devices under seeds 0 to 9 kept 92.7% [91.9, 93.6] with ε = 8 for every "
        "sample, but the attack's AUC was 0.503 [0.499, 0.506] there without privacy, which left "
        "the claim undecided; LiRA (an audit finds more than the "
        'threshold on the loss that is judged, so "confirmed" would say that this attack fails); '
        "learning rates and norms chosen for each ε, which would cost privacy of their own."
    )
    Budget = PrivateBudget

    def conditions(self) -> list[Condition]:
        """Each unit with each ε; the controls run without privacy."""
        b = self.budget
        valid = f"must have {JUDGED:g} among them, which is judged"
        self.require(JUDGED in b.epsilons, "epsilons", valid)
        for unit in (SAMPLE, DEVICE):
            self.require(unit in b.clip_norm, "clip_norm", f"must have a norm for {unit}")
        valid = f"must be at most {b.samples}, the samples that a device learns from"
        self.require(b.batch <= b.samples, "batch", valid)
        require_library("privacy")
        size = {
            **b.size(),
            "data.per_device": 2 * b.samples,
            "data.local_test": 0.5,
            "train.batch": b.batch,
            "train.local_steps": b.steps,
        }
        return [
            Condition.of(UNPROTECTED, size, {"privacy": "none"}, arms=ARMS),
            *(Condition.of({"protects": unit, "epsilon": f"{epsilon:g}"}, size, changes,
                           self._noise(unit, epsilon), arms=arms(False))
              for unit, changes in UNITS.items()
              for epsilon in (math.inf, *b.epsilons)),
        ]  # fmt: skip

    def _noise(self, unit: str, epsilon: float) -> dict[str, Any]:
        """The settings of the noise that keeps ``epsilon``; where that is infinite, there is
        none."""
        b, of_sample = self.budget, unit == SAMPLE
        found = {"privacy.clip_norm": b.clip_norm[SAMPLE if of_sample else DEVICE]}
        if math.isinf(epsilon):
            return {**found, "privacy.noise_multiplier": 0}
        rate, releases = (b.batch / b.samples, b.rounds * b.steps) if of_sample else (1.0, b.rounds)
        try:
            sigma = noise_for(epsilon, DELTA, rate, releases)
        except ConfigError as error:
            valid = (
                f"{error.valid}; that follows from rounds={b.rounds}, steps={b.steps},"
                f" batch={b.batch} and samples={b.samples}"
            )
            raise ConfigError(f"{self.preset}.epsilons", epsilon, valid) from None
        found |= {"privacy.noise_multiplier": sigma, "privacy.delta": DELTA}
        return {**found, "privacy.epsilon": epsilon}

    def conclude(self, results: Results) -> list[Verdict]:
        bare, verdicts = {**UNPROTECTED, "arm": "swarm"}, []
        plain = results.mean(FOUND, **bare)
        finds = plain.above(CHANCE)
        missing = {True: "", False: NOTHING_TO_FIND, None: UNCLEAR}[finds]
        for hypothesis, unit in zip(self.hypotheses, UNITS, strict=True):
            noisy = _at_judged(unit)
            kept, found = results.ratio(ACCURACY, noisy, bare), results.mean(FOUND, **noisy)
            because = (
                f"with ε = {AT} for every {unit}, the swarm keeps {kept.text(1, 100, '%')} of its"
                f" accuracy, and the attack's AUC is {found.text(3)}; without privacy it is"
                f" {plain.text(3)}"
            )
            bounds = {"accuracy": Bound(kept, above=ENOUGH), "AUC": Bound(found, below=CHANCE)}
            figures = {"kept": kept, "auc": found, "auc_without": plain}
            verdicts.append(hypothesis.judged(bounds, because, missing, only_if=finds, **figures))
        return verdicts

    def charts(self, results: Results) -> list[Chart]:
        shown = {arm: {**UNPROTECTED, "arm": arm} for arm in ARMS}
        shown |= {f"{unit}, ε = {AT}": _at_judged(unit) for unit in UNITS}
        attacked = {name: row for name, row in shown.items() if name != "centralised"}
        return [
            Chart("What privacy costs", "round", "accuracy, mean over devices",
                  results.by_rounds(ACCURACY, shown)),
            Chart("What an attack finds", "round", "AUC of membership inference",
                  results.by_rounds(FOUND, attacked), level=(CHANCE, f"{CHANCE:g}")),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        noise = {
            tuple(each.values.values()): each.changes.get("privacy.noise_multiplier")
            for each in self.conditions()
        }
        columns = {
            "protects": Text("{protects}", arm="swarm", otherwise="nothing ({arm})"),
            "ε": lambda row: row["epsilon"].replace(UNBOUNDED, "∞"),
            "noise multiplier": lambda row: noise[row["protects"], row["epsilon"]],
            "accuracy": Mean(ACCURACY),
            "attack AUC": Mean(FOUND),
            "members found at 1%": Mean("membership_tpr_1"),
            "ε spent": Figure(SPENT, ".2f"),
        }
        return results.table(self.rows(), columns)


def _at_judged(unit: str) -> dict[str, str]:
    """The values of the swarm that is judged."""
    return {"protects": unit, "epsilon": AT, "arm": "swarm"}
