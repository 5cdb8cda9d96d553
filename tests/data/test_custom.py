"""A data source of the user's own: chosen as a model is, and no message names a key that the user
never set.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.common.errors import ConfigError
from tests.support import prepared

PLUG_IN = f"plugins=[{Path(__file__).parent / 'user_data.py'}]"
SMALL = ("devices=4", "partition=iid", "topology=ring", "model=softmax", "rounds=1")
OWN = (PLUG_IN, "data=custom", "data._target_=user_data.Moons", *SMALL)


def test_a_source_of_ones_own_is_chosen_as_a_model_is() -> None:
    assert len(prepared(*OWN, "data.samples=120").dataset.x) == 120


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*OWN, "data.bad=true"),
            r"^data=user_data\.Moons: row 3 \(counted from 0\), column 1 is nan",
        ),
        ((*OWN, "data.sample=9"), r"^data\.sample=9: no such key \(did you mean samples\?\)"),
        (
            (PLUG_IN, "data._target_=user_data.Moons", *SMALL),
            r"^data\._target_=user_data\.Moons: has no parameter flat, which data=digits has;"
            r" data=custom in front leaves the keys of that option out$",
        ),
        (
            ("data=custom", "data._target_=user_data.Moons", *SMALL),
            r"^data\._target_=user_data\.Moons: must be in swarm, scenarios, torch\.nn, or a",
        ),
    ],
)
def test_messages_name_what_the_user_set(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepared(*words)
