"""``report.html``: one self-contained page, built from ``page.html``, ``page.css`` and
``page.*.js`` beside this file.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

import yaml

from swarm.common.names import listed
from swarm.config.build import choice
from swarm.results.columns import heading, human, on
from swarm.results.load import Run
from swarm.results.report.html.message_table import message_table
from swarm.results.report.html.page_data import page_data, script_json
from swarm.results.report.html.verdicts import verdicts
from swarm.results.report.style import SCORES, colours, lead, subject, verdict
from swarm.results.track.units import (
    human_bytes,
    human_energy,
    human_score,
    human_time,
    rho_of,
    virtual_time,
    where_diverged,
)
from swarm.simulation.metrics.formulas import gap_closed

# the least that the scale of final scores spans: a smaller difference is to look small
FINEST = 0.01


def page(run: Run, drawing: dict[str, Any] | None = None) -> str:
    """The whole page as HTML.

    Every text that comes from the run is escaped; nothing is loaded from elsewhere.
    """
    parts = {name: part(name) for name in ("html", "css")}
    script = "\n".join(part(f"{name}.js") for name in ("chart", "curves", "devices"))
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
        tiles=_tiles(run),
        ladder=_ladder(run),
        table=_table(run),
        account=message_table(run),
        facts=_facts(run),
        config=escape(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True, width=100)),
    )
    # JSON and file systems have names that are no text
    return text.encode("utf-8", "replace").decode("utf-8")


def part(name: str) -> str:
    """A piece of the page: ``html``, ``css``, ``curves.js``."""
    return (Path(__file__).parent / "assets" / f"page.{name}").read_text(encoding="utf-8")


def _arm_colours(run: Run) -> str:
    """A class per arm by its number: an arm's name never enters the style sheet."""
    pairs = list(colours(run.arms).values())
    light = "".join(f".arm{i}{{--arm:{pair[0]}}}" for i, pair in enumerate(pairs))
    dark = "".join(f".arm{i}{{--arm:{pair[1]}}}" for i, pair in enumerate(pairs))
    return f"\n{light}\n@media (prefers-color-scheme:dark){{{dark}}}\n"


def _notes(run: Run) -> str:
    """What could not be read of the run, above everything else."""
    return "".join(
        f'<p class="card note" role="alert">Not shown: {escape(note)}</p>' for note in run.notes
    )


def _tiles(run: Run) -> str:
    """The key figures of the run: those of the swarm, or of the first arm where there is none."""
    summary, score = run.summary or {}, run.score
    if summary.get("compared"):
        return ""  # no run before the others
    first = lead(run.arms)
    final = run.final(first)
    tiles = []
    if score:
        gap = summary.get("gap_closed")
        reason = summary.get("gap_closed_reason") or (
            "run not finished" if run.summary is None else ""
        )
        note = "of the isolated-to-centralised gap" if gap is not None else str(reason)
        tiles.append(("gap closed", "–" if gap is None else f"{100 * gap:.1f}%", note, "hero"))
        worst = human_score(final.get(f"{score}_min"))
        tiles += [
            (
                f"{first}: {SCORES[score]}",
                human_score(final.get(f"{score}_mean")),
                "mean over devices",
                "",
            ),
            ("worst decile", human_score(final.get(f"{score}_p10")), f"worst device {worst}", ""),
            (
                "consensus model",
                human_score(final.get(f"consensus_{score}")),
                "the mean of all parameters",
                "",
            ),
        ]
    elif "rate_measured" in summary:
        tiles += [
            ("contraction per round", human_score(summary["rate_measured"], 6), "measured", "hero"),
            ("ρ", human_score(rho_of(summary), 6), _rho_note(summary), ""),
        ]
    devices = summary.get("devices") or run.config.get("devices")
    sent = final.get("bytes_total")
    each = (
        f"{human_bytes(sent / devices)} a device"
        if sent and isinstance(devices, int) and devices
        else "by all devices"
    )
    seconds = [run.final(arm).get("wall_s") for arm in run.arms]
    tiles.append(("sent", human_bytes(sent), each, ""))
    count = f"all {len(seconds)} arms" if len(seconds) > 1 else ""
    tiles.append(("wall time", human_time(sum(s for s in seconds if s)), count, ""))
    return "".join(
        f'<div class="tile {kind}"><div class="key">{escape(key)}</div>'
        f'<div class="value{" small" if len(value) > 8 else ""}">{escape(value)}</div>'
        f'<div class="note">{escape(note)}</div></div>'
        for key, value, note, kind in tiles
    )


def _rho_note(summary: dict[str, Any]) -> str:
    rounds = (summary.get("topology") or {}).get("estimated_from")
    return f"estimated from {rounds} rounds" if rounds else "second-largest |eigenvalue|"


def _ladder(run: Run) -> str:
    """One line per arm: mean and the range from the worst to the best decile, the gap shaded
    behind.
    """
    score = run.score
    if not score:
        return ""
    finals = {arm: run.final(arm) for arm in run.arms}
    points = {
        arm: [final.get(f"{score}_{q}") for q in ("p10", "mean", "p90")]
        for arm, final in finals.items()
    }
    shown = {
        arm: [p[1] if v is None else v for v in p] for arm, p in points.items() if p[1] is not None
    }
    if not shown:
        return ""
    low, high = min(min(p) for p in shown.values()), max(max(p) for p in shown.values())
    wide = max(high - low, FINEST)
    low, span = (low + high - 1.1 * wide) / 2, 1.1 * wide

    def at(value: float) -> float:
        return float(100 * (value - low) / span)

    gap = ""
    over = [arm for arm in ("isolated", "centralised") if finals.get(arm, {}).get("diverged")]
    ends = [shown[arm][1] for arm in ("isolated", "centralised") if arm in shown]
    if len(ends) == 2 and not over and gap_closed(ends[0], *ends)[1] is None:
        a, b = map(at, ends)
        gap = f'<i class="gap" style="left:{a:.2f}%;width:{b - a:.2f}%"></i>'
    rows = []
    for number, arm in enumerate(run.arms):
        if arm in shown:
            p10, mean, p90 = (at(v) for v in shown[arm])
            rows.append(
                f'<div class="rung arm{number}"><b>{escape(arm)}</b><span class="rail">{gap}<i'
                f' class="range" style="left:{p10:.2f}%;width:{max(p90 - p10, 0):.2f}%"></i><i'
                ' class="dot"'
                f' style="left:{mean:.2f}%"></i></span><em>{human_score(shown[arm][1])}</em></div>'
            )
    long = " long" if max(map(len, shown)) > 14 else ""
    caption = (
        f"Final {SCORES[score]}: the dot is the mean over devices, the bar runs from the worst to"
        " the best decile"
    )
    caption += "; the gap between isolated and centralised is shaded." if gap else "."
    return (
        f'<section class="card ladder{long}">{"".join(rows)}<p'
        f' class="hint">{escape(caption)}</p></section>'
    )


def _recovered(rounds: list[int | None] | None) -> str:
    """One number for each change of concept."""
    return ", ".join("never" if each is None else str(each) for each in rounds or ()) or "–"


def _rounds(final: dict[str, Any]) -> Any:
    return final.get("rounds", final.get("round", "–"))


def _table(run: Run) -> str:
    score, finals = run.score, {arm: run.final(arm) for arm in run.arms}
    label = SCORES.get(score or "", "")
    columns: list[tuple[str, Any]] = []
    if score:
        keys = {
            f"{label} mean": f"{score}_mean",
            "worst decile": f"{score}_p10",
            "worst device": f"{score}_min",
            "consensus": f"consensus_{score}",
            "ensemble": f"ensemble_{score}",
            "own distribution": f"own_{score}_mean",
            "prequential": "prequential_accuracy",
            "prequential squared error": "prequential_mse",
            "perplexity": "perplexity_mean",
        }
        columns = [(head, lambda f, key=key: human_score(f.get(key))) for head, key in keys.items()]
    columns += [
        (heading(column), lambda f, key=column.key: human(f.get(key)))
        for column in on(run.columns, "table")
    ]
    columns += [
        ("state", lambda f: "–" if f.get("state", "finished") == "finished" else f["state"]),
        (
            "gap closed",
            lambda f: "–" if f.get("gap_closed") is None else f"{100 * f['gap_closed']:.1f}%",
        ),
        ("forgetting", lambda f: human_score(f.get("forgetting"))),
        ("backward transfer", lambda f: human_score(f.get("backward_transfer"))),
        ("rounds to recover", lambda f: _recovered(f.get("recovery_rounds"))),
        ("sent", lambda f: human_bytes(f.get("bytes_total"))),
        ("energy", lambda f: human_energy(f.get("joules_total"))),
        ("virtual time", lambda f: human_time(virtual_time(f, finals.values()))),
        ("wall time", lambda f: human_time(f.get("wall_s"))),
        ("steps/s", lambda f: f"{f['steps_per_s']:,.0f}" if f.get("steps_per_s") else "–"),
        (
            "rounds",
            lambda f: str(_rounds(f)) if len(set(map(_rounds, finals.values()))) > 1 else "–",
        ),
        ("folder", lambda f: str(f.get("folder", "–"))),
        (
            "learning rate",
            lambda f: f"{f['lr']:g}" if f.get("lr") is not None and run.learns else "–",
        ),
    ]
    columns = [
        (head, cell)
        for head, cell in columns
        if any(cell(final) != "–" for final in finals.values())
    ]
    head = "".join(f"<th>{escape(text)}</th>" for text, _ in columns)
    body = []
    for number, (arm, final) in enumerate(finals.items()):
        diverged = final.get("diverged")
        where = f"diverged: {where_diverged(diverged)}" if diverged else ""
        cells = "".join(f"<td>{escape(cell(final))}</td>" for _, cell in columns)
        name = f'<i class="chip"></i>{escape(arm)} <small>{escape(where)}</small>'
        body.append(f'<tr class="arm{number}"><th>{name}</th>{cells}</tr>')
    return (
        f"<table><thead><tr><th>arm</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
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
    # without learning, the data took no part
    data = summary.get("data") if run.learns or not run.arms else None
    groups = {"Run": run_facts, "Topology": summary.get("topology"), "Data": data,
              "Engine": summary.get("engine"), "Versions": summary.get("versions")}  # fmt: skip
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


def _choices(run: Run) -> dict[str, str]:
    """What was sent, by which rule, over what network: the chosen options, none left out but
    ``none``, and the default protocol where nothing was learnt, of which only the averaging was
    run."""
    found: dict[str, str] = {}
    config = run.config
    for group in ("protocol", "compressor", "delay", "churn", "outage", "clock", "fleet"):
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
