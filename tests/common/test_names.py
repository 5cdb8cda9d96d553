"""Names: one form whatever type or spelling a value has, one order, and no number that means two
things.
"""

from __future__ import annotations

import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.common.names import LONGEST, canonical, choices, coded, finder, listed, ordered

WHOLE = st.integers(-(10**15), 10**15)  # exact as float64 too


@given(WHOLE)
def test_a_whole_number_has_one_name_in_every_type_and_spelling(number: int) -> None:
    spelt = [number, float(number), np.int64(number), np.float64(number), str(number), f" {number}\t", f"{number}.0",
             f"{number}.".encode(), f"{'-' if number < 0 else ''}00{abs(number)}", f"{number:+d}"]  # fmt: skip
    assert {canonical(value) for value in spelt} == {str(number)}


@given(st.text(max_size=20))
def test_a_name_is_its_own_name(text: str) -> None:
    name = canonical(text)
    assert canonical(name) == name
    assert canonical(f"\n {text} ") == name
    assert canonical(unicodedata.normalize("NFD", name)) == name


def test_what_is_not_a_whole_number_stays_text() -> None:
    for text in ("1e3", "2.5", "0x10", "1_000", "٢", "nan", "inf", "-", "1 2", "True"):
        assert canonical(text) == unicodedata.normalize("NFC", text)
    assert canonical(2.5) == "2.5"
    assert canonical(np.True_) == canonical(True) == canonical("True") == "True"
    assert canonical(float("inf")) == "inf"
    assert canonical("-0") == canonical(-0.0) == "0"


@given(st.lists(WHOLE, min_size=1, unique=True))
def test_numbers_are_ordered_by_value(numbers: list[int]) -> None:
    assert ordered(map(canonical, numbers)) == [str(number) for number in sorted(numbers)]


@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=4),
        min_size=1,
        unique=True,
    )
)
def test_others_are_ordered_as_text_and_numbers_among_them_too(words: list[str]) -> None:
    assert ordered([*words, "10", "9"]) == sorted([*words, "10", "9"])


@given(st.lists(WHOLE, min_size=1, max_size=30))
@settings(deadline=None)  # the first call imports pandas
def test_a_column_has_the_same_codes_in_every_type(numbers: list[int]) -> None:
    text = list(map(str, numbers))
    columns = [np.array(numbers), np.array(numbers, float), np.array(numbers, object), np.array(text), np.array(text, object),
               np.array(text, "S")]  # fmt: skip
    found = [coded(column, "who") for column in columns]
    for codes, names in found:
        np.testing.assert_array_equal(codes, found[0][0])
        assert names == tuple(map(str, sorted(set(numbers))))
        assert [names[code] for code in codes] == list(map(str, numbers))


def test_two_spellings_of_one_name_are_said() -> None:
    with pytest.warns(
        UserWarning, match="who=person: 'zoe' and ' zoe' are taken for one name, zoe"
    ):
        assert coded(np.array(["zoe", " zoe", "adam"], object), "who=person")[1] == ("adam", "zoe")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coded(np.array([2, "2", 2.0], object), "who=person")  # types are no spellings


def test_names_that_are_none() -> None:
    with pytest.raises(
        ValueError, match=r"^row 1 \(counted from 0\) is empty; every row needs a value$"
    ):
        coded(np.array(["a", " "], object), "who")
    with pytest.raises(
        ValueError, match=r"^row 2 \(counted from 0\) has 257 characters; a name has at most 256$"
    ):
        coded(np.array(["a", "b", "x" * (LONGEST + 1)], object), "who")
    lists = np.empty(2, object)
    lists[:] = [[1], [2]]
    with pytest.raises(ValueError, match="has list values"):
        coded(lists, "who")


@given(
    st.lists(
        st.integers(-5, 30).map(str) | st.sampled_from(["walk", "sit", "a b"]),
        unique=True,
        max_size=8,
    )
)
def test_a_number_never_means_two_things(names: list[str]) -> None:
    """Every name finds its own; a number finds by position only where no name is one."""
    find = finder(names, len(names))
    for place, name in enumerate(names):
        assert find(name) == place
    numbered = any(name.lstrip("-").isdigit() for name in names)
    for number in range(40):
        expected = names.index(str(number)) if str(number) in names else None
        if not numbered:
            expected = number if number < len(names) else None
        assert find(number) == find(str(number)) == expected


def test_without_names_there_are_numbers() -> None:
    find = finder(None, 3)
    assert [find(w) for w in (0, "2", 2.0, 3, -1, "zoe", "", 10**30)] == [
        0,
        2,
        2,
        None,
        None,
        None,
        None,
        None,
    ]
    assert finder((None, "zoe", None), 3)("zoe") == 1
    assert finder((None, "zoe", None), 3)("2") == 2


def test_what_messages_say() -> None:
    assert choices(None, 4) == "0 to 3"
    assert choices(("a", "b"), 2) == "a, b, or 0 to 1"
    assert choices(("1", "2"), 2) == "1, 2"
    assert choices(("a", "b", "c"), 3, there=[0, 2]) == "a, c, or 0, 2"
    assert choices(("a", "b", "c"), 3, there=[1, 2]) == "b, c, or 1 to 2"
    assert choices(None, 4, there=[0, 1, 3]) == "0, 1, 3"
    assert choices(("1", "2"), 2, there=[1]) == "2"
    assert listed([str(i) for i in range(1010)], 3) == "0, 1, 2 and 1,007 more"
