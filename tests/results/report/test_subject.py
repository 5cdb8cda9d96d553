"""What a report says was run."""

from __future__ import annotations

import pytest

from swarm.results.report.style import data_name

SUMMARY = {"data": {"name": "table"}}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("../mine/houses.csv", "houses.csv"),
        ("scans/", "scans"),
        ("fetched:fashion_mnist", "table"),
        (None, "table"),
    ],
)
def test_data_of_a_file_have_its_name_and_not_its_path(path: str | None, name: str) -> None:
    assert data_name(SUMMARY, {"data": {"_target_": "swarm.data.Table", "path": path}}) == name


def test_data_without_a_file_have_the_name_of_their_option() -> None:
    assert data_name({"data": {"name": "digits"}}, {"data": {"_target_": "a.Digits"}}) == "digits"
    assert data_name({}, {"data": {"_target_": "a.Digits"}}) == "Digits"
