"""Results with final metrics that follow from others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from swarm.experiments.claims.results import Results


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
