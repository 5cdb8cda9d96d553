"""``report.html``: one self-contained page, built from ``page.html``, ``page.css`` and
``page.*.js`` beside this file.
"""

from __future__ import annotations

import shlex
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from swarm.common.names import listed
from swarm.common.system import yaml_text
from swarm.config.choices import choice
from swarm.results.load import Run
from swarm.results.report.html.ladder import ladder
from swarm.results.report.html.message_table import message_table
from swarm.results.report.html.page_data import page_data, script_json
from swarm.results.report.html.table import table
from swarm.results.report.html.tiles import tiles
from swarm.results.report.html.verdicts import verdicts
from swarm.results.report.style import colours, subject, verdict


def page(run: Run, drawing: dict[str, Any] | None = None) -> str:
    """The whole page as HTML.

    Every text that comes from the run is escaped; nothing is loaded from elsewhere.
    """
    parts = {name: part(name) for name in ("html", "css")}
    script = "\n".join(part(f"{name}.js") for name in ("chart", "zoom", "curves", "devices"))
    name = str((run.summary or {}).get("run") or run.folder.resolve().name)
    text = Template(parts["html"]).substitute(
        style=parts["css"] + _arm_colours(run),
        script=script,
        data=script_json(page_data(run, drawing)),
        name=escape(name),
        subject=escape(subject(run)),
        verdict=escape(verdict(run)),
        notes=_notes(run),
        verdicts=verdicts(run),
        tiles=tiles(run),
        ladder=ladder(run),
        table=table(run),
        account=message_table(run),
        facts=_facts(run),
        config=escape(yaml_text.dump(run.config, width=100)),
    )
    # JSON and file systems have names that are no text
    return text.encode("utf-8", "replace").decode("utf-8")


def part(name: str) -> str:
    """A piece of the page: ``html``, ``css``, ``curves.js``."""
    return (Path(__file__).parent / "assets" / f"page.{name}").read_text(encoding="utf-8")


def _arm_colours(run: Run) -> str:
    """A class per arm by its number: an arm's name never enters the style sheet."""
    pairs = list(colours(run).values())
    light = "".join(f".arm{i}{{--arm:{pair[0]}}}" for i, pair in enumerate(pairs))
    dark = "".join(f".arm{i}{{--arm:{pair[1]}}}" for i, pair in enumerate(pairs))
    return f"\n{light}\n@media (prefers-color-scheme:dark){{{dark}}}\n"


def _notes(run: Run) -> str:
    """What could not be read of the run, above everything else."""
    return "".join(
        f'<p class="card note" role="alert">Not shown: {escape(note)}</p>' for note in run.notes
    )


def _facts(run: Run) -> str:
    """What the summary says about topology, data, engine and versions, as lists of terms."""
    summary = run.summary or {}
    run_facts: dict[str, Any] = {
        key: summary[key]
        for key in ("run", "scenario", "seed", "rounds", "devices")
        if key in summary
    }
    run_facts |= _choices(run)
    if run.overrides is not None:
        run_facts["settings as typed"] = shlex.join(run.overrides) or "none"
    # without learning, the data took no part
    data = summary.get("data") if run.learns or not run.arms else None
    groups = {"Run": run_facts, "Topology": summary.get("topology"),
              "Hostile devices": _attack(run), "Data": data, "Engine": summary.get("engine"),
              "Versions": summary.get("versions")}  # fmt: skip
    return "".join(
        f'<section class="card"><h2>{title}</h2><dl>'
        + "".join(
            f"<dt>{escape(str(k).replace('_', ' '))}</dt><dd>{escape(_fact(v))}</dd>"
            for k, v in group.items()
            if v is not None
        )
        + "</dl></section>"
        for title, group in groups.items()
        if isinstance(group, dict) and group
    )


def _attack(run: Run) -> dict[str, Any] | None:
    """What the summary says about hostile devices, with their names where they have any."""
    found = dict((run.summary or {}).get("attack") or {})
    who = found.pop("hostile_devices", None)
    if isinstance(who, list) and who:
        names = run.names or []
        called = [str(names[i] if i < len(names) and names[i] else i) for i in who]
        found["devices"] = listed(called, 30)
    return found or None


def _choices(run: Run) -> dict[str, str]:
    """The chosen options that say what was sent, by which rule, and over what network. Left out is
    ``none``, and the default protocol where nothing was learnt, as only its averaging was run."""
    found: dict[str, str] = {}
    config = run.config
    groups = ("protocol", "compressor", "secure_sum", "delay", "churn", "outage", "clock", "fleet")
    for group in groups:
        section = config.get(group)
        if isinstance(section, dict) and section.get("_target_"):
            name = choice(group, section)
            learnt = run.learns or not run.arms or name != "dpsgd"
            found |= {group: name} if (learnt if group == "protocol" else name != "none") else {}
    network = config.get("network")
    if (
        isinstance(network, dict)
        and isinstance(network.get("drop"), int | float)
        and network["drop"]
    ):
        found["messages lost"] = f"{network['drop']:.0%}"
    return found | ({"mixing": str(config["mixing"])} if config.get("mixing") else {})


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_fact(v)}" for k, v in value.items())
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return listed(value, 30)
    if isinstance(value, list):
        return " × ".join(map(str, value))
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value is None else str(value)
