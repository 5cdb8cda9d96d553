"""Results with further final metrics: those that follow from others, from the curve of each run, or
from other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from swarm.experiments.claims.results import SEED, Results

Curve = pd.DataFrame
"""The rows of :attr:`Results.curves` of one run and arm, in the order of their rounds."""


def assigned(results: Results, **metrics: Callable[[pd.DataFrame], Any]) -> Results:
    """The same results with further final metrics by name, each a function of
    :attr:`Results.finals`, such as ``error=lambda finals: 1 - finals["accuracy_mean"]``."""
    if results.finals.empty:
        return results
    return replace(results, finals=results.finals.assign(**metrics))


def unfolded(results: Results, key: str, metrics: Mapping[Any, Mapping[str, str]]) -> Results:
    """The same results with a row for each value of ``key`` in place of one, where a final metric
    has several names: ``metrics`` has by value of ``key`` what it is called there, by the name that
    it gets, such as ``{0.5: {"calls": "calls_50"}, 0.9: {"calls": "calls_90"}}``. A metric that is
    not there is NaN."""
    finals = results.finals
    if finals.empty:
        return results
    each = []
    for value, names in metrics.items():
        found = {name: finals.get(metric, np.nan) for name, metric in names.items()}
        each.append(finals.assign(**{key: value}, **found))
    return replace(results, finals=pd.concat(each, ignore_index=True))


def with_measures(
    results: Results, of: Callable[[Curve], Mapping[str, float]], keys: Iterable[str]
) -> Results:
    """The same results with further final metrics: the numbers that ``of`` makes of the curve of
    each run and arm, under names that are new. ``keys`` are those of the values of a condition."""
    finals, curves = results.finals, results.curves
    if finals.empty or curves.empty:
        return results
    by = [*keys, SEED, "arm"]
    runs = curves.sort_values("round").groupby(by)
    found = [{**dict(zip(by, key, strict=True)), **of(curve)} for key, curve in runs]
    finals = finals.merge(pd.DataFrame(found), on=by, how="left", validate="1:1")
    return replace(results, finals=finals)


def with_share(results: Results, name: str, metric: str, by: Sequence[str], **of: Any) -> Results:
    """The same results with a further final metric ``name``: ``metric`` divided by that of the row
    with the values ``of``, under the same seed and with the same values ``by``. It is NaN where
    there is no such row, or its arm diverged."""
    finals, keys = results.finals, [*by, SEED]
    if finals.empty:
        return results
    there = (finals[[*of]] == pd.Series(of)).all(axis=1) & ~finals["diverged"].astype(bool)
    whole = finals.loc[there, [*keys, metric]].rename(columns={metric: "whole"})
    each = finals[keys].merge(whole, on=keys, how="left", validate="m:1")["whole"]
    return replace(results, finals=finals.assign(**{name: finals[metric] / each.to_numpy()}))


def counting_diverged(results: Results, **figures: float) -> Results:
    """The same results with the arms that diverged counted as all others, with the final
    ``figures`` in place of their own."""
    finals = results.finals
    if finals.empty:
        return results
    lost = finals["diverged"].astype(bool)
    given = {name: finals[name].mask(lost, value) for name, value in figures.items()}
    return replace(results, finals=finals.assign(**given, diverged=False))
