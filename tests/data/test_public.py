"""The shared samples: which ones they are, and that no device is dealt one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from swarm.common.errors import ConfigError
from swarm.common.rng import Keys
from swarm.data.dataset import Dataset
from swarm.data.local_test import learnt_from, public_asked, shared
from swarm.data.validation import validate
from swarm.results.provenance import identity
from tests.support import config, prepared

KEYS = Keys(0, "public")


def data(train: int, test: int = 3) -> Dataset:
    ids = np.arange(train + test)
    x = np.zeros((len(ids), 1), np.float32)
    nobody = np.zeros(0, np.int64)
    return Dataset(x, ids % 2, 2, None, ids[:train], nobody, ids[train:])


@pytest.mark.parametrize(("share", "taken"), [(0.25, 11), (7, 7), (1, 1), (0.001, 1)])
def test_a_share_or_a_number_of_the_training_samples_is_taken(share: float, taken: int) -> None:
    before = data(41)
    after = shared(before, share, KEYS)
    assert after.public is not None
    assert len(after.public) == taken
    assert np.union1d(after.train, after.public).tolist() == before.train.tolist()
    assert len(after.train) == 41 - taken
    assert (np.diff(after.public) > 0).all()


def test_no_label_says_which_samples_are_taken() -> None:
    before = data(400)
    turned = replace(before, y=before.y[::-1].copy())
    taken = [shared(each, 0.2, KEYS).public for each in (before, turned)]
    assert taken[0].tolist() == taken[1].tolist()
    assert shared(before, 0.2, Keys(1, "public")).public.tolist() != taken[0].tolist()


@pytest.mark.parametrize(
    "words", [(), ("data.local_test=0.2", "data.local_validation=0.2"), ("update=online",)]
)
def test_nobody_is_dealt_a_shared_sample(words: tuple[str, ...]) -> None:
    arms = "scenario.arms=[swarm,isolated,centralised]"
    ready = prepared("protocol=fedmd", "data.public=0.1", "partition=iid", arms, *words)
    public, split = ready.dataset.public, ready.split
    assert public is not None
    assert len(public) == 126  # of 1,257
    sets = [ready.dataset.train, ready.dataset.validation, ready.dataset.test, split.sample]
    sets += [held.sample for held in (split.local_test, split.local_validation) if held is not None]
    for arm in ready.arms:
        own = ready.experiment(arm, arm.variants[0]).data
        sets.append(own.split.sample)
        assert own.dataset.public.tolist() == public.tolist()
    assert not any(np.isin(each, public).any() for each in sets)


def test_samples_in_two_sets_are_refused() -> None:
    with pytest.raises(ConfigError, match="train, validation, test and public share samples"):
        validate(replace(data(5), public=np.array([4])))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.public=1.0",), r"data\.public=1: must be a fraction from 0 up to"),
        (("data.public=-1",), r"data\.public=-1: must be a fraction from 0 up to"),
        (("data.public=true",), r"data\.public=true: must be a fraction"),
        (("data.public=all",), r"data\.public=all: must be a fraction"),
        (("data.public=1257",), r"data\.public=1257: must leave a sample to learn from, of the 1257"),
        (
            ("data.public=0.1", "update=online", "partition=iid", "drift=label_swap"),
            r"data\.public=0\.1: must be 0 with data that drift",
        ),
    ],
)  # fmt: skip
def test_another_value_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepared("train.batch=2", *words)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.public="):
        public_asked({"public": float("nan")})


def test_shared_samples_that_nobody_predicts_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"^data\.public=0\.1: no protocol of this run exchanges"):
        prepared("data.public=0.1")


def test_the_default_is_the_configuration_of_before() -> None:
    today = config()
    assert today["data"].pop("public") == 0
    assert identity(config()) == identity(today)
    assert learnt_from({"public": 0, "test": 0.2}) == {"test": 0.2}
    assert learnt_from({"public": 0.1}) == {"public": 0.1}
