"""What the terminal shows: few plain lines in a log, one bar per arm in a terminal, a table that
fits 80 columns.
"""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from swarm.results.presentation import ArmStyle, Presentation
from swarm.results.presentation.gap import gap_entry
from swarm.results.presentation.stored import of_before
from swarm.results.track import ConsoleSink, print_summary
from swarm.results.track.units import human_bytes, human_energy, human_time, sparkline

ARMS: dict[str, dict[str, Any]] = {
    name: {"accuracy_mean": a, "accuracy_p10": a - 0.1, "consensus_accuracy": a + 0.01, "bytes_total": 7.7e8 * (i == 0),
           "virtual_s": 100.0, "wall_s": 4000.5, "diverged": None}
    for i, (name, a) in enumerate([("swarm", 0.95), ("isolated", 0.6), ("centralised", 0.96), ("fedavg", 0.94)])
}  # fmt: skip


SHOWN = Presentation(
    {
        "swarm": ArmStyle("lead"),
        "isolated": ArmStyle("lower"),
        "centralised": ArmStyle("upper"),
        "fedavg": ArmStyle("control"),
    },
    (gap_entry("isolated", "centralised"),),
)


def drawn(terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return (
        Console(
            file=file, width=80, force_terminal=terminal, color_system=None, legacy_windows=False
        ),
        file,
    )


def play(sink: ConsoleSink, rounds: int, summary: dict[str, Any]) -> None:
    sink.start("swarm", rounds, 0)
    for r in range(rounds + 1):
        sink.record(
            {
                "arm": "swarm",
                "round": r,
                "steps": 100,
                **({"accuracy_mean": r / rounds} if r % 5 == 0 else {}),
            }
        )
    sink.finish("swarm", summary)
    sink.close()


def test_a_log_gets_a_line_per_tenth() -> None:
    console, file = drawn(terminal=False)
    play(ConsoleSink(console), 1000, ARMS["swarm"])
    lines = file.getvalue().splitlines()
    assert len(lines) == 10
    assert "\x1b" not in file.getvalue()
    assert "round 500/1000" in lines[4]
    assert "accuracy 0.500" in lines[4]
    assert "steps/s" in lines[4]


def test_a_score_of_an_earlier_round_says_of_which(monkeypatch: pytest.MonkeyPatch) -> None:
    console, file = drawn(terminal=False)
    play(ConsoleSink(console), 20, ARMS["swarm"])  # evaluated every five rounds, a line every two
    lines = [re.split(r"/20  |  ", line[12:])[1] for line in file.getvalue().splitlines()]
    assert lines[0] == "accuracy 0.000 (round 0)"
    assert lines[4] == "accuracy 0.500"
    assert lines[5] == "accuracy 0.500 (round 10)"
    assert lines[-1] == "accuracy 1.000"
    console, _ = drawn(terminal=True)
    sink = ConsoleSink(console)
    sink.start("swarm", 20, 0)
    for r in (0, 1):
        sink.record({"arm": "swarm", "round": r} | ({} if r else {"accuracy_mean": 0.5}))
    with console.capture() as shown:
        console.print(sink._view())
    sink.close()
    assert "last evaluated (round 0)" in " ".join(shown.get().split())


def test_a_slow_run_speaks_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("swarm.results.track.console.time.perf_counter", lambda: now[0])
    console, file = drawn(terminal=False)
    sink = ConsoleSink(console)
    sink.start("swarm", 10_000, 0)
    for r in range(1, 22):
        now[0] += 1.0
        sink.record({"arm": "swarm", "round": r, "steps": 1})
    assert [text.split()[2] for text in file.getvalue().splitlines()] == ["10/10000", "20/10000"]


def test_a_terminal_gets_a_bar_within_80_columns() -> None:
    console, file = drawn(terminal=True)
    play(ConsoleSink(console), 20, ARMS["swarm"])
    assert "100%" in file.getvalue()
    assert "accuracy 1.000" in file.getvalue()


def test_divergence_names_device_and_round() -> None:
    console, file = drawn(terminal=False)
    play(ConsoleSink(console), 5, {"diverged": {"device": 0, "round": 3}})
    assert "diverged: device 0, round 3" in file.getvalue()


def test_the_closing_table_fits_80_columns_and_says_the_gap() -> None:
    console, file = drawn(terminal=False)
    print_summary({"gap_closed": 0.9722, "arms": ARMS}, console, presentation=SHOWN)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "97.2%" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("swarm"))
    assert " ".join(row.split()) == "swarm 0.950 0.850 0.960 734 MiB 1 min 40 s 1 h 06 min"


def test_the_closing_table_gives_the_reason_and_the_diverged_arms() -> None:
    console, file = drawn(terminal=False)
    arms = {**ARMS, "[bold]x": {"r2_mean": 0.5, "diverged": {"device": 7, "round": 0}}}
    print_summary(
        {"gap_closed": None, "gap_closed_reason": "C − I = 0.01 < 0.02", "arms": arms},
        console,
        presentation=SHOWN,
    )
    assert "C − I = 0.01 < 0.02" in file.getvalue()
    assert "[bold]x diverged: device 7 in round 0" in file.getvalue()


def test_units() -> None:
    sizes = {None: "–", 0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 2**20: "1 MiB", 2**50: "1 PiB"}
    assert {value: human_bytes(value) for value in sizes} == sizes
    times = {
        None: "–",
        0.25: "0.25 s",
        9.5: "9.5 s",
        59.7: "1 min 00 s",
        75: "1 min 15 s",
        4000: "1 h 06 min",
    }
    assert {value: human_time(value) for value in times} == times
    energies = {None: "–", 0: "0 mJ", 0.25: "250 mJ", 1: "1 J", 999: "999 J", 1536: "1.54 kJ"}
    assert {value: human_energy(value) for value in energies} == energies


def test_a_run_without_learning_shows_its_distance_and_its_contraction() -> None:
    console, file = drawn(terminal=False)
    sink = ConsoleSink(console)
    sink.start("gossip", 10, 0)
    for r in range(11):
        sink.record({"arm": "gossip", "round": r, "steps": 0, "consensus_distance": 10.0**-r})
    lines = file.getvalue().splitlines()
    assert "distance 1.0e-04" in lines[3]
    assert "steps/s" not in file.getvalue()
    print_summary({"headline": "It contracts by 0.95.", "arms": {"gossip": {}}}, console)
    assert "It contracts by 0.95." in file.getvalue()
    missing: dict[str, Any] = {
        "rate_measured": None,
        "rate_measured_reason": "give it more rounds",
        "arms": {},
    }
    print_summary(missing, console, presentation=of_before(missing))
    text = " ".join(file.getvalue().split())
    assert "Contraction per round: not defined (give it more rounds)." in text


def test_the_gap_is_that_of_the_latest_round_all_three_have() -> None:
    console, file = drawn(terminal=False)
    sink = ConsoleSink(console, presentation=SHOWN)
    for arm, scores in (
        ("swarm", [0.1, 0.5, 0.8]),
        ("isolated", [0.1, 0.3, 0.4]),
        ("centralised", [0.1, 0.8, 0.9]),
    ):
        sink.start(arm, 2, 0)
        for r, score in enumerate(scores):
            sink.record(
                {
                    "arm": arm,
                    "round": r,
                    "accuracy_mean": score,
                    "awake": 9,
                    "messages_total": 1200 * r,
                }
            )
    *others, before, last = file.getvalue().splitlines()
    assert not any("gap" in line for line in others)
    assert "gap closed so far 40% (round 1)" in before  # (0.5 - 0.3) / (0.8 - 0.3)
    assert "gap closed so far 80% (round 2)" in last
    assert "9 awake" in last
    assert "2,400 messages" in last


def test_a_resumed_run_begins_with_what_it_had() -> None:
    console, file = drawn(terminal=False)
    past = [
        {"arm": a, "round": r, "accuracy_mean": s}
        for a, s in (("swarm", 0.6), ("isolated", 0.5))
        for r in (0, 1)
    ]
    sink = ConsoleSink(console, past, SHOWN)
    sink.start("centralised", 1, 0)
    sink.record({"arm": "centralised", "round": 1, "accuracy_mean": 0.7})
    assert "gap closed so far 50% (round 1)" in file.getvalue()


def test_the_live_view_fits_80_columns_and_shows_every_arm() -> None:
    console, file = drawn(terminal=True)
    sink = ConsoleSink(console)
    play(sink, 20, ARMS["swarm"])
    sink.start("[bold]isolated-with-a-long-name", 20, 0)
    for r in range(11):
        sink.record({"arm": "x", "round": r, "steps": 10**6, "accuracy_mean": 0.5 + r / 100, "awake": 1000,
                     "messages_total": 10**9})  # fmt: skip
    with console.capture() as shown:
        console.print(sink._view())
    sink.close()
    first, second, *rest = shown.get().splitlines()
    facts = " ".join(" ".join(rest).split())
    assert "▁" in first
    assert "█" in first
    assert "[bold]isolat" in second
    assert "accuracy 0.600" in second
    assert " 50%" in second
    assert max(map(len, (first, second, *rest))) <= 80
    for text in ("1,000 awake", "1,000,000,000 messages", "left"):
        assert text in facts
    sink.start("swarm", 20, 0)
    sink.finish("swarm", {"diverged": {"device": 0, "round": 3}})
    sink.close()
    assert "diverged: device 0, round 3" in " ".join(file.getvalue().split())


def test_a_terminal_without_blocks_gets_none() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(
        file=raw, width=80, force_terminal=True, color_system=None, legacy_windows=False
    )
    sink = ConsoleSink(console)
    sink.start("swarm", 2, 0)
    sink.record({"arm": "swarm", "round": 1, "accuracy_mean": 0.5})
    with console.capture() as shown:
        console.print(sink._view())
    assert "▁" not in shown.get()
    assert "accuracy 0.500" in shown.get()


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.5, 0.5]) == "▁▁"
    assert sparkline([0, 1]) == "▁█"
    assert sparkline(list(range(100)), width=8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0.0] * 99 + [1.0])[-1] == "█"  # the last value is always shown


def test_a_narrow_terminal_shows_whole_figures() -> None:
    file = io.StringIO()
    console = Console(
        file=file, width=40, force_terminal=True, color_system=None, legacy_windows=False
    )
    sink = ConsoleSink(console)
    play(sink, 20, ARMS["swarm"])
    with console.capture() as shown:
        console.print(sink._view())
        print_summary({"gap_closed": 0.5, "arms": ARMS}, console, presentation=SHOWN)
    text = shown.get()
    for figure in ("accuracy 1.000", "100%", "0.950", "0.850", "734 MiB"):
        assert figure in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 40


def test_the_concept_lived_in_is_said() -> None:
    console, file = drawn(terminal=False)
    sink = ConsoleSink(console)
    sink.start("swarm", 1, 0)
    sink.record({"arm": "swarm", "round": 1, "accuracy_mean": 0.5, "concept": 0})
    assert "concept 0" in file.getvalue()
