"""What is published of judged claims, and what is told of them in a talk."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.cli.commands import publish
from swarm.experiments.claims.page.talk import sentence

from .conftest import facts, rewrite


def _as_full(judged: Path, scenario: str = "drift", word: str = "refuted", number: int = 2) -> None:
    summary = facts(judged) | {"preset": "full", "scenario": scenario}
    summary["verdicts"] = [row | {"verdict": word, "number": number} for row in summary["verdicts"]]
    rewrite(judged, summary)


def test_what_is_judged_is_published(judged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _as_full(judged)
    assert publish.main(["c"]) == 0
    home = Path("docs/claims")
    assert capfd.readouterr().out.strip() == "docs/claims/README.md"
    assert {file.name for file in (home / "drift").iterdir()} == {
        "README.md",
        "chart1.png",
        "verdict.json",
    }
    assert (home / "drift/README.md").read_text() == (judged / "verdict.md").read_text()
    _as_full(judged, "swarm_size", "confirmed", 1)
    assert publish.main(["c", "--to", "docs/claims"]) == 0
    table = (home / "README.md").read_text()
    # by their numbers
    assert table.index("[swarm_size](swarm_size/README.md)") < table.index(
        "[drift](drift/README.md)"
    )
    assert (
        "2 claims, judged by rules written down before the runs: 1 confirmed, 1 refuted, 0"
        " undecided." in table
    )
    refuted = table[table.index("## What was refuted") : table.index("## What stays undecided")]
    assert refuted.count(". Measured: accuracy") == 1
    assert "<script" not in table
    assert str(judged.resolve().parent) not in table
    (home / "README.md").unlink()
    assert publish.main(["--talk", "talk.html"]) == 0  # from what is published
    assert (home / "README.md").read_text() == table
    shown = Path("talk.html").read_text()
    assert shown.index("swarm_size") < shown.index("scenario=drift")
    assert shown.count('src="data:image/png') == 2


@pytest.mark.parametrize(
    ("because", "said"),
    [
        ("it is 3 [1, 5]", "it is 3 [1, 5]"),
        ("it is 3 [1, 5]; that is 4", "it is 3 [1, 5]"),
        ("it is 3 (here; there 2); that is 4", "it is 3 (here; there 2)"),
        ("", ""),
    ],
)
def test_a_talk_has_the_first_clause(because: str, said: str) -> None:
    assert sentence(because) == said


@pytest.mark.parametrize(
    ("preset", "failed", "finished", "said"),
    [
        ("quick", {}, True, "run=c: is of preset=quick, which judges nothing; preset=full does"),
        ("full", {"a": "b"}, True, "run=c: has 1 failed runs; resume=c tries them again"),
        ("full", {}, False, "run=c: is not finished; resume=c goes on with it"),
    ],
)
def test_what_judges_nothing_is_not_published(
    judged: Path,
    capfd: pytest.CaptureFixture[str],
    preset: str,
    failed: dict[str, str],
    finished: bool,
    said: str,
) -> None:
    rewrite(judged, facts(judged) | {"preset": preset, "failed": failed})
    if not finished:
        (judged / "summary.json").unlink()
    assert publish.main(["c"]) == 2
    assert capfd.readouterr().err == f"error: {said}\n"
    assert not Path("docs").exists()


@pytest.mark.parametrize(
    "damage", ["", "{}", '{"verdicts": 3}', '{"scenario": "a", "seeds": 5, "verdicts": [{}]}']
)
def test_damage_beside_it_is_one_sentence(
    judged: Path, capfd: pytest.CaptureFixture[str], damage: str
) -> None:
    _as_full(judged)
    place = Path("docs/claims/swarm_size")
    place.mkdir(parents=True)
    (place / "verdict.json").write_text(damage)
    assert publish.main(["c"]) == 2
    assert (
        "swarm_size/verdict.json: is damaged; publish the claim swarm_size again"
        in capfd.readouterr().err
    )
    assert not Path("docs/claims/drift").exists()


def test_what_is_no_claim_is_not_published(judged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for folder, said in (
        ("c/runs/topology=ring,seed=0", "judges no claim"),
        ("nowhere", "is no run folder"),
    ):
        assert publish.main([folder]) == 2
        assert said in capfd.readouterr().err
