"""Whatever number stands in whatever key: the run works, or one sentence names the key before
anything is written.

``SWARM_EXTREMES=5000`` tries so many cases instead of the few of every day; ``python -m
tests.contracts.extremes`` tries every key with every value, one after the other.
"""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.contracts.extremes import (
    NUMBERS,
    OTHERS,
    TEXTS,
    Key,
    base,
    is_text,
    keys,
    outcome,
    put,
    wrong,
)

MANY = int(os.environ.get("SWARM_EXTREMES", "0"))
PROFILE = settings(
    max_examples=MANY or 120,
    derandomize=not MANY,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate]
    if not MANY
    else [Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
NUMBER = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(OTHERS),
    st.integers(),
    st.floats(),
    st.builds(
        lambda base, power: base**power, st.sampled_from([2, 10, -2, -10]), st.integers(0, 70)
    ),
)
ALONE = tuple(key for key in keys() if key.option not in ("ray", "live"))


@cache
def _small(key: Key) -> str:
    folder = Path(tempfile.mkdtemp(dir=_home()))
    return json.dumps(base(key, folder))


@cache
def _home() -> str:
    return tempfile.mkdtemp(prefix="swarm-extremes-")


def _works_or_says_why(key: Key, value: object) -> None:
    cfg = json.loads(_small(key))
    put(cfg, key.path, value)
    found = outcome(cfg, Path(_home()) / "run")
    note(f"{key} = {value!r}: {found}")
    assert wrong(key, value, found) is None, f"{key} = {value!r}: {found.text}"


@PROFILE
@given(key=st.sampled_from(ALONE), value=NUMBER)
def test_a_number_in_any_key(key: Key, value: object) -> None:
    _works_or_says_why(key, value)


@PROFILE
@given(
    key=st.sampled_from([key for key in ALONE if is_text(key)]),
    value=st.one_of(st.sampled_from(TEXTS), st.text()),
)
def test_a_text_in_any_key_of_text(key: Key, value: str) -> None:
    _works_or_says_why(key, value)
