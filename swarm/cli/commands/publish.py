"""``python run_swarm.py publish RUN [RUN ...]`` copies the verdicts of judged claims, or of a whole
suite, to where a repository shows them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swarm.cli.messages import CommandParser, complain
from swarm.common.errors import ConfigError, SwarmError
from swarm.config.schema import Schema, checked, read_json
from swarm.experiments.claims.page.page import MARKDOWN, markdown_row, picture, plain
from swarm.experiments.claims.page.talk import chart_of, talk
from swarm.experiments.claims.page.verdicts import sentence
from swarm.results.folder import Folder
from swarm.results.schemas import ClaimSummary, Published, read_summary
from swarm.simulation import checkpoint

FACTS = "verdict.json"  # the facts of a published claim, from which the table of all is made
PUBLISHED = ("scenario", "seeds", "runs", "verdicts")
README = "README.md"
REGENERATE = """\
`make claims` runs every claim with `preset=full`, which takes some eight hours on two
cores, goes on where it was interrupted, and writes this folder anew. For one claim:

```bash
python run_swarm.py scenario=NAME preset=full hydra.run.dir=outputs/NAME
python run_swarm.py publish outputs/NAME
```
"""
Facts = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, 0, or that of the error after one sentence on
    standard error."""
    parser = CommandParser(
        "publish",
        description=(
            "Copy the verdicts and pictures of claims judged by preset=full, and renew the table of"
            " all verdicts."
        ),
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        type=Path,
        help="the folder of a claim, or of a suite of claims; none: only renew the table",
    )
    parser.add_argument(
        "--to",
        metavar="FOLDER",
        type=Path,
        default=Path("docs/claims"),
        help="the folder to publish into (docs/claims)",
    )
    parser.add_argument(
        "--talk",
        metavar="FILE",
        type=Path,
        help="also write a page for a talk: a screen for each verdict, in one file",
    )
    given = parser.parse_args(arguments)
    try:
        publish(given.runs, given.to)
        if given.talk:
            checkpoint.write_bytes(given.talk, published_talk(given.to).encode())
    except SwarmError as error:
        return complain(error)
    except OSError as error:
        why = error.strerror or error
        print(f"error: {error.filename or given.to}: cannot be used ({why})", file=sys.stderr)
        return 2
    print(given.to / README)
    return 0


def publish(runs: Sequence[Path], to: Path) -> None:
    """Copy each claim to ``to/SCENARIO``, and write the table of all claims there to
    ``to/README.md``.

    Raises :class:`ConfigError`, before anything is written, for a folder that is no finished claim
    of ``preset=full``, and for a damaged file in ``to``.
    """
    if not runs and not to.is_dir():
        valid = "must be the folder of published claims, of which the table is renewed; a clone has"
        raise ConfigError("--to", to, f"{valid} docs/claims, and --to names another")
    found = [(claim, _judged(claim)) for run in runs for claim in _claims(run)]
    new = {
        str(summary["scenario"]): {name: summary[name] for name in PUBLISHED}
        for _, summary in found
    }
    there = {
        file.parent.name: _published(file)
        for file in to.glob(f"*/{FACTS}")
        if file.parent.name not in new
    }
    for claim, summary in found:
        place = to / str(summary["scenario"])
        _copy(claim, place)
        checkpoint.write_bytes(
            place / FACTS,
            (json.dumps(new[place.name], indent=1, ensure_ascii=False) + "\n").encode(),
        )
    checkpoint.write_bytes(to / README, _readme([*there.values(), *new.values()], to).encode())


def published_talk(to: Path) -> str:
    """The HTML of the page for a talk, of all claims that are published in ``to``.

    Raises :class:`ConfigError` for a damaged file in ``to``."""
    claims = [(file.parent, _published(file)) for file in to.glob(f"*/{FACTS}")]
    claims.sort(key=lambda one: one[0].name)
    return talk("Claims, and what became of them", claims)


def _published(file: Path) -> Facts:
    try:
        facts = read_json(file, Published, "/to")
        _readme([facts], file.parents[1])
    except (ConfigError, KeyError, TypeError, AttributeError):
        valid = f"is damaged; publish the claim {file.parent.name} again, or remove its folder"
        raise ConfigError("/to", file, valid) from None
    return facts


def _claims(run: Path) -> list[Path]:
    """The folders of claims in ``run``: itself, or those of a suite."""
    Folder.open(run)
    if (run / MARKDOWN).exists() or not (
        inside := sorted(file.parent for file in run.glob("*/config.yaml"))
    ):
        return [run]
    return inside


def _judged(claim: Path) -> dict[str, Any]:
    file = claim / "summary.json"
    if not file.exists():
        raise ConfigError("/run", claim, f"is not finished; resume={claim} goes on with it")
    summary = read_summary(file, Schema, "/run")
    if "verdicts" not in summary or not (claim / MARKDOWN).is_file():
        raise ConfigError("/run", claim, "judges no claim: only scenarios that do are published")
    checked(summary, ClaimSummary, file, "/run")
    if summary["preset"] != "full":
        raise ConfigError(
            "/run",
            claim,
            f"is of preset={summary['preset']}, which judges nothing; preset=full does",
        )
    if summary["failed"]:
        raise ConfigError(
            "/run",
            claim,
            f"has {len(summary['failed'])} failed runs; resume={claim} tries them again",
        )
    return summary


def _copy(claim: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob(picture("*")):
        old.unlink()
    for file in claim.glob(picture("*")):
        checkpoint.write_bytes(place / file.name, file.read_bytes())
    # repositories show README.md when a folder is opened
    checkpoint.write_bytes(place / README, (claim / MARKDOWN).read_bytes())


def _readme(facts: Sequence[Facts], to: Path) -> str:
    rows = [
        {**row, "scenario": each["scenario"], "seeds": each["seeds"]}
        for each in facts
        for row in each["verdicts"]
    ]
    rows.sort(key=lambda row: (row["number"], row["scenario"]))
    lines = ["# Claims, and what became of them", "", _counted(rows), ""]
    lines += [
        markdown_row(["claim", "verdict", "figure", "seeds", "page"]),
        markdown_row(["---"] * 5),
    ]
    for row in rows:
        cells = [row["claim"], f"**{row['verdict']}**", sentence(row["because"]), str(row["seeds"])]
        lines.append(f"{markdown_row(cells)} {_linked(to, row)} |")
    lines += [
        "",
        (
            "Brackets are 95% intervals over seeds. Metric, threshold and rule of each claim are in"
            " its scenario's"
        ),
    ]
    lines += [
        (
            "file (`scenarios/NAME.py`), fixed before the runs, and on its page. `docs/claims.md`"
            " says what the"
        ),
        "scenarios do not test. For a talk, `python run_swarm.py publish --talk talk.html` makes a"
        " page with one",
        "claim, one picture and one sentence a screen.",
        "",
    ]
    for head, word in (("What was refuted", "refuted"), ("What stays undecided", "undecided")):
        lines += _listed(head, [row for row in rows if row["verdict"] == word])
    return "\n".join([*lines, "## Again", "", REGENERATE])


def _linked(to: Path, row: Facts) -> str:
    """A link to the page of a claim, which shows its picture, small."""
    scenario = row["scenario"]
    file = chart_of(to / scenario, row)
    image = f'<img src="{scenario}/{file.name}" alt="" width="160"><br>' if file else ""
    return f"{image}[{scenario}]({scenario}/{README})"


def _listed(head: str, rows: Sequence[Facts]) -> list[str]:
    lines = [plain(f"- {row['claim']} {_measured(row)}") for row in rows]
    return [f"## {head}", "", *(lines or ["Nothing."]), ""]


def _measured(row: Facts) -> str:
    said = f"Measured: {sentence(row['because'])}."
    return f"{said} To decide it: {row['decided_by']}." if row.get("decided_by") else said


def _counted(rows: Sequence[Facts]) -> str:
    words = [row["verdict"] for row in rows]
    counts = [f"{words.count(word)} {word}" for word in ("confirmed", "refuted", "undecided")]
    return f"{len(rows)} claims, judged by rules written down before the runs: {', '.join(counts)}."
