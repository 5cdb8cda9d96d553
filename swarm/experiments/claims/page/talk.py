"""The page for a talk: each verdict fills a screen with one claim, one picture and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from swarm.common.errors import counted
from swarm.experiments.claims.page.page import badge, inline_png, picture
from swarm.experiments.claims.page.verdicts import Facts, by_number, sentence

TALK = "talk.html"


def chart_of(folder: Path, row: Facts) -> Path | None:
    """The picture of a verdict in the ``folder`` of its claim; None if there is none."""
    wanted = [folder / picture(row.get("chart", 1)), folder / picture(1)]
    return next((file for file in wanted if file.is_file()), None)


def talk(title: str, claims: Sequence[tuple[Path, Facts]]) -> str:
    """The HTML of the page, self-contained, by the numbers of the claims: ``claims`` are their
    folders with their summaries.
    """
    slides = [_slide(folder, summary, row) for folder, summary, row in by_number(claims)]
    template = (Path(__file__).parent / "talk.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=escape(title), slides="\n".join(slides))


def _slide(folder: Path, summary: Facts, row: Facts) -> str:
    number, statement = row["claim"].split(". ", 1)
    file = chart_of(folder, row)
    image = f'<img alt="" src="{inline_png(file.read_bytes())}">' if file else ""
    what = f"scenario={summary['scenario']} · {counted(summary['seeds'], 'seed')}"
    return (
        f'<section><p class="over">Claim {escape(number)}</p><h1>{escape(statement)}</h1>'
        f"<figure>{image}</figure>"
        f"<p>{badge(row['verdict'])} {escape(sentence(row['because']))}</p>"
        f"<footer>{escape(what)} · brackets are 95% intervals over seeds</footer></section>"
    )
