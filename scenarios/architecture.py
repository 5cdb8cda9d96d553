"""Claim 10: the MCSD architecture trains 7 times and infers 5 times as fast as a Transformer."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from swarm.common.errors import ConfigError
from swarm.common.statistics import Interval, geometric, interval
from swarm.experiments.claims.base import Budget, Claim, Condition, Count, Hypothesis, Verdict
from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.results import SEED, Results
from swarm.simulation.metrics.record import COHORT

TRANSFORMER, MCSD, GRU = MODELS = ("transformer", "mcsd", "gru")
IN_TURNS = "in turns"  # the runs in which all three are timed, one after the other
NAMES = {TRANSFORMER: "Transformer", MCSD: "MCSD", GRU: "GRU"}
ARMS = ("swarm", "isolated", "centralised")
VOCABULARY, DEPTH, WIDTH, HEADS, CHANNELS = 64, 2, 64, 4, 8
STEP = 4096  # tokens of a local step, whatever the length of a sequence
LOSS, TARGET = "train_loss", 2.4
RATES = {TRANSFORMER: 0.01, MCSD: 0.01, GRU: 0.01}
TIME, FLOP, TRAINING, INFERENCE = "time", "flops", "training", "inference"  # what is compared
SEVEN, FIVE = 7.0, 5.0
_RULE = (
    "confirmed if the 95% interval of the ratio lies above {0:g} at the longest length; refuted if"
    " it lies below {0:g} at every length"
)


class ArchitectureBudget(Budget):
    """The sequence lengths, each a divisor of the 4,096 tokens of a local step, and further widths
    of the models, at which only the speed is measured, at the longest length."""

    devices: Count
    rounds: Count
    lengths: list[Count]
    widths: list[Count]


class Architecture(Claim):
    """MCSD (our reading of it, docs/models.md), a GRU and a Transformer with equal parameters
    learn generated text in swarms of the same devices, samples and local steps of 4,096 tokens, in
    sequences of several lengths. How many steps a device takes until its loss on text that it has
    not met is at the target follows from the seed; what a step takes is measured apart, on the
    same machine and in the same process, where a device of each architecture takes its turn. The
    time to the target is one times the other.

    Seconds are processor time of one thread, on a machine that does other work as well. So they
    are compared only within a turn: a ratio is the median over turns, and its interval is over
    seeds, of its logarithm. FLOP, which the machine does not change, stand beside it.
    """

    hypotheses: ClassVar = (
        Hypothesis(
            10,
            "MCSD trains 7 times as fast as a Transformer.",
            f"processor time of a device of a swarm until its loss on text that it meets for the"
            f" first time is {TARGET} nats a token: the Transformer's over MCSD's, paired by seed",
            _RULE.format(SEVEN)
            + "; a length at which one of them does not reach the target under every seed has no"
            " interval",
        ),
        Hypothesis(
            10,
            "MCSD infers 5 times as fast as a Transformer.",
            "tokens a second that a device writes one by one after a whole sequence: MCSD's over"
            " the Transformer's, paired by seed",
            _RULE.format(FIVE),
            chart=2,
        ),
        Hypothesis(
            10,
            "What MCSD keeps between two tokens does not grow with the length, and what a"
            " Transformer keeps does.",
            "bytes of the state of a device that has read one sequence",
            "confirmed if MCSD's bytes are the same at all lengths and the Transformer's grow from"
            " each length to the next; refuted otherwise",
            chart=3,
        ),
    )
    untested = (
        "Other machines: seconds are those of one thread of one processor, and a graphics card,"
        " several threads and batches of sequences that are written together have other ratios."
        " Larger models: these have 78,208 parameters, and products that all three have in common"
        " take a larger share of a wider one. The published MCSD: its code is not public, and this"
        " is our reading of the paper. Tuned programs: the Transformer's attention is torch's fused"
        " one, its cache is copied for each token, which a program that writes in place need not"
        " do, and nobody has tuned a step of MCSD or of the GRU either. Text that needs a long"
        " context: the next token depends on the one before it only, so no model gains from what"
        " it remembers. Messages take no time here."
    )
    Budget = ArchitectureBudget

    def conditions(self) -> list[Condition]:
        """Each length with all models in turns, and with each model that learns; then the speed of
        narrower and wider models."""
        lengths = self.budget.lengths
        if lengths != sorted(set(lengths)) or not lengths or any(STEP % each for each in lengths):
            valid = f"must be different divisors of {STEP} in ascending order"
            raise ConfigError(f"{self.preset}.lengths", lengths, valid)
        wrong = [each for each in self.budget.widths if each % CHANNELS or each == WIDTH]
        if wrong:
            valid = f"must be multiples of {CHANNELS} other than {WIDTH}"
            raise ConfigError(f"{self.preset}.widths", self.budget.widths, valid)
        found = []
        for length in lengths:
            found.append(self._timed(length, WIDTH))
            found += [self._learning(length, model) for model in MODELS]
        return found + [self._timed(lengths[-1], width) for width in self.budget.widths]

    def _timed(self, length: int, width: int) -> Condition:
        """A run in which nobody learns, whose devices of three architectures are timed in turns."""
        sizes = sizes_of(width)
        cohorts = {
            name: {"devices": [place], "model": {name: sizes[name]}}
            for place, name in enumerate(MODELS[1:], start=1)
        }
        return Condition(
            {"model": IN_TURNS, "length": length, "width": width},
            {
                **_settings(TRANSFORMER, width, length, 4),
                "cohorts": cohorts,
                "protocol": "none",
                "devices": 3,
                "rounds": 0,
                "metrics": ["loss", "speed"],
                "scenario.arms": ["isolated"],
            },
        )

    def _learning(self, length: int, model: str) -> Condition:
        """A run in which devices of one architecture learn from a stream, each sequence once. The
        controls learn at the shortest length only, where their steps take least."""
        b = self.budget
        return Condition(
            {"model": model, "length": length, "width": WIDTH},
            {
                **_settings(model, WIDTH, length, b.rounds + 2),
                "devices": b.devices,
                "rounds": b.rounds,
                "evaluate.every": b.rounds,
                "scenario.arms": list(ARMS if length == b.lengths[0] else ARMS[:1]),
            },
        )

    # --- what is judged ---------------------------------------------------------------------------

    def conclude(self, results: Results) -> list[Verdict]:
        lengths = self.budget.lengths
        first, last = lengths[0], lengths[-1]

        def said(what: str, model: str = MCSD, length: int = last) -> str:
            return _text(self._times(results, what, model, length))

        trained, written = (
            {length: self._times(results, what, MCSD, length) for length in lengths}
            for what in (TIME, INFERENCE)
        )
        faster = (
            f"at length {last} MCSD reaches the target {said(TIME)} times as fast as the"
            f" Transformer; at length {first} {said(TIME, length=first)} times. At the longest, a"
            f" step is {said(TRAINING)} times as fast, the target takes {said(FLOP)} times fewer"
            f" FLOP, and the GRU is {said(TIME, GRU)} times as fast"
        )
        more = (
            f"at length {last} MCSD writes {said(INFERENCE)} times as many tokens a second as the"
            f" Transformer; at length {first} {said(INFERENCE, length=first)} times. At the"
            f" longest, the GRU writes {said(INFERENCE, GRU)} times as many"
        )
        training, inference, state = self.hypotheses
        return [
            training.verdict(_judged(trained, SEVEN), faster, times=trained[last]),
            inference.verdict(_judged(written, FIVE), more, times=written[last]),
            self._constant(results, state),
        ]

    def _constant(self, results: Results, hypothesis: Hypothesis) -> Verdict:
        """Whether one state stays as it is while the other grows."""
        first, last = self.budget.lengths[0], self.budget.lengths[-1]
        kept = {m: [self._kept(results, m, at) for at in self.budget.lengths] for m in MODELS}
        holds = len(set(kept[MCSD])) == 1 and bool((np.diff(kept[TRANSFORMER]) > 0).all())
        told = ", ".join(
            f"{NAMES[m]} {each[0]:,.0f} and {each[-1]:,.0f}" for m, each in kept.items()
        )
        because = f"bytes that are kept at length {first} and at length {last}: {told}"
        return hypothesis.verdict(holds, because)

    # --- what is measured -------------------------------------------------------------------------

    def _times(
        self, results: Results, what: str, model: str, length: int, width: int = WIDTH
    ) -> Interval:
        """How many times as fast as the Transformer's (or, of ``FLOP``, how many times fewer): a
        local step (``TRAINING``), writing (``INFERENCE``), or all steps to the target (``TIME``).
        The geometric mean over seeds; none where a seed has no ratio."""
        where = (length, width)
        if what in (TRAINING, INFERENCE):
            ratio = self._speed(results, f"{what}_ratio", model, *where)
        else:
            ratio = _rounds(results, TRANSFORMER, length) / _rounds(results, model, length)
            if what == TIME:
                ratio *= self._speed(results, f"{TRAINING}_ratio", model, *where)
            else:
                ratio *= _step_flops(results, TRANSFORMER, length)
                ratio /= _step_flops(results, model, length)
        return geometric([] if ratio.isna().any() else ratio.to_numpy())

    def _speed(
        self, results: Results, what: str, model: str, length: int, width: int = WIDTH
    ) -> pd.Series[float]:
        """A number of the runs in which the models take turns, by seed."""
        where = {"model": IN_TURNS, "length": length, "width": width}
        name = "own" if model == TRANSFORMER else model
        return results.by_seed(f"speed_{what}{COHORT}{name}", **where)

    def _kept(self, results: Results, model: str, length: int) -> float:
        """Bytes of a state, which are the same under every seed."""
        found = self._speed(results, "state_bytes", model, length)
        return float(found.iloc[0]) if found.nunique() == 1 else np.nan

    # --- what is shown ----------------------------------------------------------------------------

    def charts(self, results: Results) -> list[Chart]:
        lengths, last = self.budget.lengths, self.budget.lengths[-1]
        widths = sorted([WIDTH, *self.budget.widths])
        long, times = "length of a sequence, tokens", "times as fast as the Transformer"

        def lines(of: Any, models: Any, x: list[int] = lengths, also: str = "") -> list[Line]:
            return [Line.through(NAMES[m] + also, x, [of(m, at) for at in x]) for m in models]

        def ratios(what: str, also: str = "") -> list[Line]:
            return lines(partial(self._times, results, what), MODELS[1:], also=also)

        def measured(title: str, what: str, y: str) -> Chart:
            found = lines(lambda *at: interval(self._speed(results, what, *at)), MODELS)
            return Chart(title, long, y, found, log_x=True, log_y=True)

        def wider(what: str) -> list[Line]:
            of = lambda model, width: self._times(results, what, model, last, width)  # noqa: E731
            return lines(of, MODELS[1:], widths, f", {what}")

        return [
            Chart("Time until the target loss", long, times,
                  [*ratios(TIME), *ratios(FLOP, ", by FLOP")],
                  log_x=True, log_y=True, level=(SEVEN, "7 times")),
            Chart("Writing token by token after a whole sequence", long, times, ratios(INFERENCE),
                  log_x=True, log_y=True, level=(FIVE, "5 times")),
            measured("What a device keeps between two tokens", "state_bytes", "bytes"),
            measured("Training", TRAINING, "tokens a second"),
            measured("Writing", INFERENCE, "tokens a second"),
            Chart(f"Learning in sequences of {last}", "round", "loss before learning, nats a token",
                  [results.by_round(LOSS, NAMES[m], model=m, length=last, arm="swarm")
                   for m in MODELS], level=(TARGET, "target")),
            Chart(f"Narrower and wider models, sequences of {last}", "width of MCSD", times,
                  [*wider(TRAINING), *wider(INFERENCE)], log_x=True, log_y=True),
        ]  # fmt: skip

    def table(self, results: Results) -> pd.DataFrame:
        lengths = self.budget.lengths
        rows = [self._row(results, model, length) for length in lengths for model in MODELS]
        for arm in ARMS[1:]:
            for model in MODELS:
                rounds = interval(_rounds(results, model, lengths[0], arm)).text(1)
                name = f"{NAMES[model]}, {arm}"
                rows.append({"length": lengths[0], "model": name, "rounds to the target": rounds})
        return pd.DataFrame(rows).fillna("–")

    def _row(self, results: Results, model: str, length: int) -> dict[str, Any]:
        where = (results, model, length)
        speed = {what: self._speed(results, what, *where[1:]) for what in (TRAINING, INFERENCE)}
        rounds = _rounds(*where)
        times = {
            what: _text(self._times(results, what, model, length))
            for what in (TIME, FLOP, TRAINING, INFERENCE)
        }
        found = results.by_seed("parameters", model=model, length=length, arm="swarm")
        return {
            "length": length,
            "model": NAMES[model],
            "parameters": f"{interval(found).mean:,.0f}",
            "rounds to the target": interval(rounds).text(1),
            "seconds": f"{interval(rounds * STEP / speed[TRAINING]).mean:.2f}",
            "times as fast": times[TIME],
            "times fewer FLOP": times[FLOP],
            "training, tokens/s": f"{interval(speed[TRAINING]).mean:,.0f}",
            "a step, times as fast": times[TRAINING],
            "writing, tokens/s": f"{interval(speed[INFERENCE]).mean:,.0f}",
            "writing, times as fast": times[INFERENCE],
            "bytes kept": f"{self._kept(*where):,.0f}",
        }


def sizes_of(width: int) -> dict[str, dict[str, int]]:
    """The sizes of the three models with as many parameters as MCSD of this width: the Transformer
    to the last one, the GRU as nearly as a whole width can."""
    own = 8.5 * width**2 + 2 * width  # of a layer of either: matrices, and the gains of two norms
    shared = 2 * VOCABULARY + 1  # numbers for each unit outside the layers: both tables, a gain
    total = DEPTH * own + shared * width
    # a layer of a GRU has 6·w² + 6·w
    a, b = 6 * DEPTH, 6 * DEPTH + shared
    wide = round((np.sqrt(b * b + 4 * a * total) - b) / (2 * a))
    return {
        TRANSFORMER: {"width": width, "depth": DEPTH, "heads": HEADS, "hidden": 3 * width // 2},
        MCSD: {"width": width, "depth": DEPTH, "channels": CHANNELS, "hidden": 2 * width},
        GRU: {"width": wide, "depth": DEPTH},
    }


def _settings(model: str, width: int, length: int, batches: int) -> dict[str, Any]:
    """What all runs have; a device gets so many mini-batches, one to validate and one to test."""
    data = {"data.context": length, "data.per_device": batches * STEP // length}
    data |= {"data.test": 1 / batches, "data.validation": 1 / batches}
    sizes = {f"model.{key}": value for key, value in sizes_of(width)[model].items()}
    steps = {"train.batch": STEP // length, "optimizer.lr": RATES[model]}
    return {**data, **steps, "model": model, **sizes}


def _rounds(results: Results, model: str, length: int, arm: str = "swarm") -> pd.Series[float]:
    """Rounds until the loss is at the target, by seed: a place on the line between the first round
    in which it is and the one before. NaN where it never is."""
    rows, found = results.curves, {}
    if rows.empty or LOSS not in rows:
        return pd.Series(dtype=np.float64)
    which = (rows["model"] == model) & (rows["length"] == length) & (rows["arm"] == arm)
    for seed, each in rows[which].dropna(subset=[LOSS]).sort_values("round").groupby(SEED):
        loss_R, round_R = each[LOSS].to_numpy(), each["round"].to_numpy()
        there = np.flatnonzero(loss_R <= TARGET)
        at = int(there[0]) if len(there) else 0
        both = slice(max(at - 1, 0), at + 1)
        # np.interp wants places that ascend, and the loss falls
        place = np.interp(-TARGET, -loss_R[both], round_R[both])
        found[seed] = float(place) if len(there) else np.nan
    return pd.Series(found, dtype=np.float64)


def _step_flops(results: Results, model: str, length: int) -> pd.Series[float]:
    """FLOP of a local step."""
    where = {"model": model, "length": length, "arm": "swarm"}
    return results.by_seed("flops_total", **where) / results.by_seed("steps_total", **where)


def _judged(found: dict[int, Interval], times: float) -> bool | None:
    """True if the ratio is above at the longest length, False if it is below at every one."""
    if found[max(found)].above(times):
        return True
    return False if all(each.above(times) is False for each in found.values()) else None


def _text(found: Interval) -> str:
    """A ratio with its interval."""
    return found.text(2 if found.mean < 10 else 1)
