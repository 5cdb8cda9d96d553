"""Contact traces: which round a contact falls in, what comes after the end, and files that are
refused with a message.
"""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.common.errors import ConfigError
from swarm.communication.topology.contacts import Contacts


def trace(folder: Path, content: str | bytes, devices: int = 4, **options: Any) -> Contacts:
    path = folder / "contacts.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Contacts(devices, str(path), **options)


def links(topology: Contacts, rounds: int) -> list[list[list[int]]]:
    return [topology.graph(round).links_E2.tolist() for round in range(rounds)]


def test_a_contact_is_in_the_window_of_its_time(tmp_path: Path) -> None:
    """Windows are [t, t + 10): 10 is already in the second, 9.999 not yet.

    Round 0 starts at the earliest time.
    """
    text = "time,a,b\n109.999,u,v\n100,v,w\n110,u,w\n139,w,u\n"
    topology = trace(tmp_path, text, window=10)
    assert topology.period == 4
    assert links(topology, 8) == 2 * [[[0, 1], [1, 2]], [[0, 2]], [], [[0, 2]]]


def test_rounding_does_not_move_a_contact(tmp_path: Path) -> None:
    """0.3 / 0.1 is 2.9999999999999996 in float64."""
    assert links(trace(tmp_path, "time,a,b\n0,a,b\n0.3,b,c\n", window=0.1), 4) == [
        [[0, 1]],
        [],
        [],
        [[1, 2]],
    ]
    ends = trace(tmp_path, "time,a,b,end\n0,a,b,0.7\n0.7,b,c,0.8\n", window=0.1)
    assert links(ends, 8) == [[[0, 1]]] * 7 + [[[1, 2]]]


def test_after_the_end_nobody_meets_or_it_starts_again(tmp_path: Path) -> None:
    text = "time,a,b\n0,a,b\n25,b,c\n"
    over = trace(tmp_path, text, window=10, after="empty")
    assert over.period is None
    assert links(over, 5) == [[[0, 1]], [], [[1, 2]], [], []]
    assert over.graph(10**9).links_E2.tolist() == []
    again = trace(tmp_path, text, window=10, after="repeat")
    assert links(again, 5) == [[[0, 1]], [], [[1, 2]], [[0, 1]], []]
    assert again.graph(3 * 10**8 + 2).links_E2.tolist() == [[1, 2]]


def test_contacts_last_until_their_end(tmp_path: Path) -> None:
    """An end at the start of a window is not in it; one without length is still a contact.

    Any order of columns and rows.
    """
    text = "b,end,a,time\nv,20,u,5\nx,35,w,15\nw,20,v,20\n"
    assert links(trace(tmp_path, text, window=10), 4) == [
        [[0, 1]],  # [5, 15)
        [[0, 1], [1, 2], [2, 3]],  # [15, 25)
        [[2, 3]],  # [25, 35)
        [[0, 1]],  # again: 35 is the end
    ]


def test_a_long_contact_takes_no_memory(tmp_path: Path) -> None:
    start = time.perf_counter()
    topology = trace(tmp_path, "time,a,b,end\n0,a,b,900000000\n3,b,c,4\n", window=1)
    assert topology.period == 900_000_000
    assert topology.graph(899_999_999).links_E2.tolist() == [[0, 1]]
    assert topology.graph(3).links_E2.tolist() == [[0, 1], [1, 2]]
    assert time.perf_counter() - start < 1


def test_labels_become_devices_in_their_order(tmp_path: Path) -> None:
    """By value if whole numbers, else alphabetically; fewer than devices leaves the rest alone;
    self-contacts count nothing.
    """
    assert links(trace(tmp_path, "time,a,b\n0,10,9\n0,9,100\n0,9,10\n"), 1) == [[[0, 1], [0, 2]]]
    assert links(trace(tmp_path, "time,a,b\n0,x10,x9\n0,x100,x100\n"), 1) == [[[0, 2]]]
    assert trace(tmp_path, "time,a,b\n0,a,b\n", devices=9).graph(0).n == 9
    assert links(trace(tmp_path, '\r\n\r\ntime,a,b\r\n0,"two\nlines",b\r\n'), 1) == [[[0, 1]]]
    assert links(trace(tmp_path, '\ufefftime, a ,b\r\n\r\n0,"Smith, J",b\r\n'), 1) == [[[0, 1]]]
    with pytest.raises(
        ConfigError, match=r"^devices=2: .*contacts.csv has 3 people; devices=3 or more would do"
    ):
        trace(tmp_path, "time,a,b\n0,a,b\n1,b,c\n", devices=2)


PUBLISHED = [(34220, 1401, 1400, "5A", "5B"), (34240, 1400, 1402, "5B", "5A"), (34240, 1402, 1401)]


@pytest.mark.parametrize("separator", ["\t", " ", "  "])
@pytest.mark.parametrize("fields", [3, 5])
def test_contacts_as_sociopatterns_publishes_them(
    tmp_path: Path, separator: str, fields: int
) -> None:
    rows = [[*row, "5A", "5A"][:fields] for row in PUBLISHED]
    text = "\n".join(separator.join(map(str, row)) for row in rows) + "\n"
    topology = trace(tmp_path, text, devices=3, window=20)
    assert links(topology, 2) == [[[0, 1]], [[0, 2], [1, 2]]]
    assert topology.node_names == ("1400", "1401", "1402")
    (tmp_path / "tij.dat.gz").write_bytes(gzip.compress(text.encode()))
    packed = Contacts(3, str(tmp_path / "tij.dat.gz"), window=20)
    assert links(packed, 2) == links(topology, 2)


def test_published_names_may_have_blanks_between_tabs(tmp_path: Path) -> None:
    topology = trace(tmp_path, "0\tMr Hi\tJohn A\n20\tJohn A\tZoe\n", devices=3, window=20)
    assert topology.node_names == ("John A", "Mr Hi", "Zoe")


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "empty": (
        "",
        "the column 'time' is missing in the heading; the columns are time, a, b and perhaps end",
    ),
    "no heading": ("0,1,2\n", "unknown column '0'"),
    "missing column": ("time,a\n0,x\n", "the column 'b' is missing"),
    "unknown column": (
        "time,a,b,rssi\n0,x,y,1\n",
        "unknown column 'rssi' in the heading; the columns are time, a, b and perhaps end",
    ),
    "column twice": ("time,a,b,a\n0,x,y,z\n", "the column 'a' is there twice"),
    "no contact": ("time,a,b\n\n", "there is no line below the heading"),
    "negative time": (
        "time,a,b\n0,x,y\n-1,x,y\n",
        "line 3: time '-1' must be a finite number of seconds, at least 0",
    ),
    "nan": ("time,a,b\nnan,x,y\n", "line 2: time 'nan' must be a finite"),
    "infinite": ("time,a,b\n1e999,x,y\n", "line 2: time '1e999' must be a finite"),
    "nan end": ("time,a,b,end\n0,x,y,nan\n", "line 2: end 'nan' must be a finite"),
    "no time": ("time,a,b\n,x,y\n", "line 2: time '' must be"),
    "words": ("time,a,b\nnoon,x,y\n", "line 2: time 'noon' must be"),
    "end before": ("time,a,b,end\n5,x,y,4\n", "line 2: end 4 must not be before time 5"),
    "few fields": ("time,a,b\n0,x\n", "line 2: has 2 fields, the heading 3"),
    "many fields": ("time,a,b\n0,x,y,z\n", "line 2: has 4 fields, the heading 3"),
    "no label": ("time,a,b\n0,,y\n", "line 2: a node id must have 1 to 256 characters"),
    "long label": (
        f"time,a,b\n0,{'x' * 257},y\n",
        "line 2: a node id must have 1 to 256 characters, not 257",
    ),
    "huge field": (f"time,a,b\n0,{'x' * 200_000},y\n", "line 2: not CSV"),
    "open quote": ('time,a,b\n0,"x,y\n', "not CSV"),
    "published, late heading": ("20 1 2\nt i j\n", "line 2: time 't' must be a finite number"),
    "published, few fields": ("20 1 2 A B\n40 1 2\n", "line 2: has 3 fields, the first line 5"),
    "published, negative": ("20\t1\t2\n-20\t1\t2\n", "line 2: time '-20' must be"),
    "published, no label": ("20\t1\t2\n20\t\t2\n", "line 2: a node id must have 1 to 256"),
    "binary": (b"time,a,b\n\xff\xfe", "not UTF-8"),
    "zero byte": (b"time,a,b\n0,x\0,y", "zero bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    with pytest.raises(ConfigError, match=r"^path=.*cannot be read as contacts: .*" + message):
        trace(tmp_path, content)


def test_caps_and_options(tmp_path: Path) -> None:
    text = "time,a,b\n0,a,b\n1,b,c\n"
    with pytest.raises(ConfigError, match="more than max_contacts=1 lines"):
        trace(tmp_path, text, max_contacts=1)
    with pytest.raises(ConfigError, match="is larger than max_mib"):
        trace(tmp_path, text, max_mib=1e-6)
    with pytest.raises(ConfigError, match=r"^window=0: must be a finite number above 0"):
        trace(tmp_path, text, window=0)
    with pytest.raises(ConfigError, match=r"^max_mib=inf: must be a finite number above 0"):
        trace(tmp_path, text, max_mib=float("inf"))
    with pytest.raises(ConfigError, match=r"^window=nan"):
        trace(tmp_path, text, window=float("nan"))
    with pytest.raises(
        ConfigError, match=r"^window=1e-10: makes more than 1,000,000,000 rounds.*; 2e-09 would do"
    ):
        trace(tmp_path, text, window=1e-10)
    assert trace(tmp_path, text, window=2e-9).windows == 500_000_001
    with pytest.raises(ConfigError, match=r"^window=1e-320: makes more"):
        trace(tmp_path, text, window=1e-320)
    with pytest.raises(ConfigError, match=r"^after=stop: must be one of repeat, empty"):
        trace(tmp_path, text, after="stop")
    with pytest.raises(ConfigError, match=r"^path=null: must name a CSV file"):
        Contacts(3)
    with pytest.raises(ConfigError, match="must be an existing regular file"):
        Contacts(3, str(tmp_path))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text("tima,b\n\"0 '1.e-", max_size=40).map(lambda s: f"time,a,b\n{s}".encode()),
    )
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    try:
        topology = trace(tmp_path, data, devices=100)
    except ConfigError:
        return
    assert topology.graph(0).n == 100


def test_a_long_trace_is_quick(tmp_path: Path) -> None:
    """200,000 contacts: a round is far below the 20 ms that a round may take."""
    rng = np.random.default_rng(0)
    at, a, b = (
        rng.random(200_000) * 1e5,
        rng.integers(0, 500, 200_000),
        rng.integers(0, 500, 200_000),
    )
    rows = "\n".join(f"{t:.1f},{x},{y}" for t, x, y in zip(at, a, b, strict=True))
    topology = trace(tmp_path, "time,a,b\n" + rows, devices=500, window=100)
    start = time.process_time()
    for round in range(0, 1000, 50):
        assert 100 < len(topology.graph(round).links_E2) < 300
    assert time.process_time() - start < 20 * 0.02
