"""CITATION.cff names the version, the licence and the keywords that the package has."""

from __future__ import annotations

import tomllib

import yaml

from tests.docs.pages import ROOT


def test_the_citation_is_of_this_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for key in ("version", "license", "keywords"):
        assert cited[key] == project[key]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
