"""The words of a command stay with its run: in ``overrides.json``, and on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import swarm
from swarm.common.errors import ConfigError
from swarm.results.folder import typed_words

from .conftest import SMALL, Command, Swept


def kept(folder: str) -> list[str]:
    return list(json.loads(Path(folder, "overrides.json").read_text())["overrides"])


def test_the_words_are_kept_by_a_resume_and_shown(command: Command) -> None:
    words = [word for word in SMALL if not word.startswith(("hydra", "report", "rounds"))]
    words = ["topology=ring", "rounds=1", *words, "network.round_seconds=2.50"]
    assert command(*words, "hydra.run.dir=r").code == 0
    assert kept("r") == words
    page = Path("r/report.html").read_text()
    assert "topology=ring rounds=1 devices=9" in page
    assert "network.round_seconds=2.50" in page  # as typed, and not as it was read
    assert command("resume=r", "rounds=2", "engine.shards=3").code == 0
    again = [word for word in words if word != "rounds=1"]
    assert kept("r") == [*again, "rounds=2", "engine.shards=3"]
    assert swarm.load("r").overrides == tuple(kept("r"))
    assert "rounds=2 engine.shards=3" in Path("r/report.html").read_text()
    assert command("resume=r").code == 0
    assert kept("r") == [*again, "rounds=2", "engine.shards=3"]


def test_each_run_of_a_sweep_has_its_own(swept: Swept) -> None:
    swept(2)
    plain = [word for word in SMALL if not word.startswith("hydra")]
    for seed in (0, 1):
        assert kept(f"s/seed={seed}") == [f"seed={seed}", *plain]


def test_another_option_takes_the_words_about_the_one_before_with_it() -> None:
    words = ["engine=ray", "engine.actors=2", "rounds=3", "+plugins=[a]"]
    assert typed_words.changed(words, {"engine": "local"}) == [
        "rounds=3",
        "+plugins=[a]",
        "engine=local",
    ]
    assert typed_words.changed(words, {"engine.actors": 4})[-1] == "engine.actors=4"
    assert typed_words.changed(words, {}) == words


def test_a_folder_without_words_and_one_with_damaged_ones(tmp_path: Path) -> None:
    assert typed_words.read(tmp_path) is None
    for text in ("[]", '{"overrides": [3]}', "{", '{"overrides": "a"}'):
        (tmp_path / "overrides.json").write_text(text)
        with pytest.raises(ConfigError, match=r"overrides\.json: damaged"):
            typed_words.read(tmp_path)


def test_python_keeps_words_only_where_they_are_the_whole_story(tmp_path: Path) -> None:
    words = [word for word in SMALL if not word.startswith("hydra")]
    swarm.run(overrides=words, folder=tmp_path / "words")
    assert typed_words.read(tmp_path / "words") == tuple(words)
    swarm.run({"seed": 3}, tmp_path / "mapping", overrides=words)
    assert typed_words.read(tmp_path / "mapping") is None
    swarm.resume(tmp_path / "mapping", {"rounds": 4})
    assert typed_words.read(tmp_path / "mapping") is None
