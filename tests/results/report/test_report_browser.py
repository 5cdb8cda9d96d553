"""The page in a real browser: drawn without an error at both widths and in both colours, and
everything on it works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from matplotlib import image

from swarm.cli.commands.report import main
from swarm.common.errors import ConfigError
from swarm.results.report import load, write_report
from swarm.results.report.html.page import page
from swarm.results.report.style import changes
from tests.results.report.browser import BINARY, Browser
from tests.results.report.test_report_pages import DRIFT
from tests.support import run as small

pytestmark = pytest.mark.skipif(
    BINARY is None, reason="needs Chromium (Debian: apt install chromium)"
)
MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


def written(folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(page(load(folder)), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_drawn_without_an_error(
    make_run: MakeRun, browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    browser.open(written(make_run(rounds=40, devices=60)), width, dark)
    browser.picture(tmp_path / "page.png")
    assert browser.errors == []
    assert browser.run("document.getElementById('failed').hidden")
    assert browser.run("document.documentElement.scrollWidth") == width  # nothing sticks out
    pixels = image.imread(tmp_path / "page.png")[:, :, :3]
    assert pixels.shape[1] == width
    assert pixels.shape[0] > 1200
    assert (pixels.mean() < 0.3) if dark else (pixels.mean() > 0.8)
    for chart in ("chart", "distribution"):
        assert browser.run(f"document.querySelectorAll('#{chart} path').length") >= 3
    overlapping = """(() => { let found = 0;
      for (const chart of document.querySelectorAll('.chart svg')) {
        const boxes = [...chart.querySelectorAll('text')].map(t => t.getBoundingClientRect()).filter(b => b.width);
        boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
          if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3) found++; }));
      } return found; })()"""
    assert browser.run(overlapping) == 0


@pytest.mark.parametrize(
    "options",
    [{"score": None, "arms": ("swarm",)}, {"score": "r2"}, {"rounds": 0}, {"devices": 1}, {"finished": False, "graph": False},
     {"diverged": {"isolated": (0, 7)}}],
    ids=["consensus", "regression", "no round", "one device", "unfinished", "diverged"],
)  # fmt: skip
def test_every_kind_of_page_opens(
    make_run: MakeRun, browser: Browser, options: dict[str, object]
) -> None:
    browser.open(written(make_run(**{"rounds": 12, "devices": 20, **options})), 1280)
    assert browser.errors == []


def test_the_slider_shows_the_devices_of_its_round(make_run: MakeRun, browser: Browser) -> None:
    folder = make_run(rounds=20, devices=30, every=5)
    browser.open(written(folder), 1280)
    rows = load(folder).devices
    for step, round in enumerate((0, 5, 10, 15, 20)):
        browser.run(f"(() => {{ const r = document.getElementById('round'); r.value = {step}; "
                    "r.dispatchEvent(new Event('input')); })()")  # fmt: skip
        assert browser.run("document.getElementById('roundtext').textContent") == f"round {round}"
        scores = rows[(rows["arm"] == "swarm") & (rows["round"] == round)]["accuracy"]
        for id, value in (("low", scores.min()), ("high", scores.max())):
            assert browser.run(f"document.getElementById('{id}').textContent") == f"{value:.3f}"
    before = browser.run("document.getElementById('distribution').innerHTML")
    browser.run("document.getElementById('play').click()")
    assert browser.run("document.getElementById('roundtext').textContent") == "round 0"
    assert browser.run("document.getElementById('distribution').innerHTML") != before
    browser.run("document.getElementById('play').click()")  # pause


def test_a_click_on_a_node_shows_its_curve(make_run: MakeRun, browser: Browser) -> None:
    folder = make_run(rounds=20, devices=30)
    drawn = browser.open(written(folder), 1280)
    assert drawn < 3000
    assert browser.run("document.getElementById('one').hidden")
    browser.run("document.getElementById('canvas').scrollIntoView()")
    box = browser.run("(() => { const b = document.getElementById('canvas').getBoundingClientRect();"
                      " return [b.left, b.top, b.width, b.height]; })()")  # fmt: skip
    graph = json.loads(browser.run("document.getElementById('data').textContent"))["graph"]
    side = min(box[2], 440)
    radius = max(2.2, min(9, 0.25 * min(box[2], box[3]) / (len(graph["nodes"]) + 1) ** 0.5))
    unit, i = side - 2 * radius - 8, graph["nodes"].index(11)
    browser.click(
        box[0] + box[2] / 2 + (graph["x"][i] - 0.5) * unit,
        box[1] + box[3] / 2 - (graph["y"][i] - 0.5) * unit,
    )
    assert (
        browser.run("document.getElementById('onetitle').textContent")
        == "Device 11 over the rounds"
    )
    # swarm, its band, isolated, fedavg
    assert browser.run("document.querySelectorAll('#device path').length") >= 3
    browser.run("document.getElementById('close').click()")
    assert browser.run("document.getElementById('one').hidden")
    assert browser.errors == []


def test_a_thousand_devices_stay_light_and_quick(make_run: MakeRun, browser: Browser) -> None:
    path = written(make_run(devices=1000, rounds=200, every=5))
    assert path.stat().st_size < 8_000_000
    drawn = browser.open(path, 1280)
    assert drawn < 3000  # milliseconds
    assert browser.errors == []


def test_links_that_change_are_those_of_the_round(browser: Browser, tmp_path: Path) -> None:
    small(tmp_path / "run", "topology=waypoint", "devices=16", "rounds=6", "evaluate.every=2")
    browser.open(written(tmp_path / "run"), 1280)
    assert "Edges: those of round 6" in browser.run(
        "document.getElementById('graphhint').textContent"
    )
    assert browser.errors == []


def test_changes_of_the_concept_are_drawn_and_explained(browser: Browser, tmp_path: Path) -> None:
    small(tmp_path / "run", *DRIFT)
    browser.open(written(tmp_path / "run"), 1280)
    count = "document.querySelectorAll('#chart .change').length"
    assert browser.run(count) == 3
    rounds = [int(r) for r in changes(load(tmp_path / "run"), "swarm")["round"]]
    hint = browser.run("document.getElementById('charthint').textContent")
    assert f"(1 in round {rounds[0]}, 2 in round {rounds[1]}, 3 in round {rounds[2]})" in hint
    assert "concept 1" in browser.run("document.getElementById('chart').textContent")
    browser.run(
        "(() => { const a = document.getElementById('axis'); a.value = 'wall_s';"
        " a.dispatchEvent(new Event('change')); })()"
    )
    assert browser.run(count) == 6  # each arm has its own time
    browser.run("document.querySelector('#legend button').click()")
    assert browser.run(count) == 3
    assert browser.errors == []


EVIL = (
    "<img src=x onerror=window.owned=1><script>window.owned=2</script><!--&lt;$a{ </script"
    " x\"'\\u003c\u2028\ufeff"
)


def literal(value: object) -> object:
    """``value`` with hostile text in the place of every text, and in front of every key."""
    if isinstance(value, dict):
        return {f"{EVIL} {key}": literal(item) for key, item in value.items()}
    return (
        [literal(item) for item in value]
        if isinstance(value, list)
        else EVIL
        if isinstance(value, str)
        else value
    )


def test_hostile_names_are_shown_and_do_nothing(make_run: MakeRun, browser: Browser) -> None:
    """In arms, folder, config, plug-ins, verdicts, facts, notes and in the data of the page; also
    in graph.png, curves.png.
    """
    arms = (EVIL, "__proto__", "constructor", "swarm'\"", "isolated")
    targets = {
        group: {"_target_": EVIL, EVIL: EVIL}
        for group in ("protocol", "compressor", "churn", "fleet")
    }
    config = {
        "plugins": [EVIL],
        EVIL: {EVIL: [EVIL]},
        "mixing": EVIL,
        "scenario": EVIL,
        "topology": {"_target_": EVIL},
    }
    name = "a<img src=x onerror=window.owned=3>$x{ &amp;"
    folder = make_run(name, rounds=10, devices=12, arms=arms, config={**config, **targets})
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("versions", "engine", "data"):
        summary[key] = literal(summary[key])
    summary |= {"scenario": EVIL, "gap_closed_reason": EVIL, "topology": {"name": EVIL, "rho": 0.5}}
    summary["verdicts"] = [{"claim": EVIL, "verdict": EVIL, EVIL: [{EVIL: EVIL}]}, EVIL]
    summary["arms"][EVIL]["diverged"] = {"device": EVIL, "round": EVIL}
    (folder / "summary.json").write_text(json.dumps(summary))
    write_report(folder)
    browser.open(folder / "report.html", 1280)
    browser.run("document.querySelectorAll('#legend button')[1].click()")
    browser.run(
        "(() => { const w = document.getElementById('which'); w.value = 3; w.dispatchEvent(new"
        " Event('change')); })()"
    )
    browser.run(
        "document.querySelector('#chart svg').dispatchEvent(new PointerEvent('pointermove',"
        " {clientX: 400, clientY: 400}))"
    )
    for where in ("#legend", "#grapharm", "#tip", "#onehint", ".ladder", ".tiles", ".facts", ".verdicts", "h1", "details pre",
                  "table th small"):  # fmt: skip
        assert EVIL[:60] in browser.run(f"document.querySelector({where!r}).textContent"), where
    assert browser.run("document.querySelector('.over').textContent") == name
    (folder / "devices.parquet").write_text("nothing")
    with pytest.raises(ConfigError):
        load(folder)
    assert browser.run("window.owned === undefined && !document.querySelector('img')")
    assert browser.run("document.scripts.length") == 2
    assert browser.errors == []
    assert main([str(folder)]) == 0  # what is damaged is named, by its path
    browser.open(folder / "report.html", 400, dark=True)
    assert name in browser.run("document.querySelector('.note').textContent")
    assert browser.run("window.owned === undefined && !document.querySelector('img')")
    assert browser.errors == []


def test_hostile_labels_of_a_comparison_do_nothing(
    make_run: MakeRun, browser: Browser, tmp_path: Path
) -> None:
    folders = [make_run(f"_{i}<img src=x onerror=window.owned=1>$x{{", rounds=5, devices=9, config={"seed": EVIL if i else 1,
               EVIL: i}) for i in range(2)]  # fmt: skip
    target = tmp_path / "c.html"
    assert main([*map(str, folders), "--html", str(target), "--png", str(tmp_path / "c.png")]) == 0
    browser.open(target, 1280)
    assert EVIL[:60] in browser.run("document.getElementById('legend').textContent")
    assert EVIL[:60] in browser.run("document.querySelector('.verdict').textContent")
    assert browser.run("window.owned === undefined && !document.querySelector('img')")
    assert browser.errors == []


@pytest.mark.parametrize("width", [1280, 400])
def test_a_graph_without_scores_says_so(browser: Browser, tmp_path: Path, width: int) -> None:
    """No word of rounds or colours beside devices that have neither; and the links around a torus
    are curves.
    """
    small(tmp_path / "run", "scenario=consensus", "topology=torus", "devices=16", "rounds=10")
    browser.open(written(tmp_path / "run"), width, dark=width == 400)
    shown = browser.run("document.getElementById('rounds').innerText")
    assert shown.startswith("The graph")
    assert "score" not in shown
    assert "round by round" not in shown
    assert "score" not in browser.run(
        "document.getElementById('canvas').getAttribute('aria-label')"
    )
    drawn = json.loads(browser.run("document.getElementById('data').textContent"))["graph"]
    assert len(drawn["bent"]) == 8
    number, *control = drawn["bent"][0]
    ends = drawn["edges"][2 * number : 2 * number + 2]
    x, y = (
        sum(drawn[axis][i] for i in ends) / 4 + at / 2
        for axis, at in zip("xy", control, strict=True)
    )
    inked = browser.run(
        f"""(() => {{ const c = document.getElementById('canvas'), size = c.clientWidth, tall = c.clientHeight;
      const radius = Math.max(2.2, Math.min(9, 0.25 * Math.min(size, tall) / Math.sqrt(17)));
      const unit = Math.min(size, 440) - 2 * radius - 8, x = size / 2 + ({x} - 0.5) * unit, y = tall / 2 - ({y} - 0.5) * unit;
      return c.getContext('2d').getImageData(Math.round(x) - 2, Math.round(y) - 2, 5, 5).data.some(v => v > 60); }})()"""
    )
    assert inked  # in the middle of the curve, where no other link is
    assert browser.errors == []


def test_names_of_levels_that_lie_close_are_stacked(make_run: MakeRun, browser: Browser) -> None:
    folder = make_run(rounds=20, devices=12, arms=("swarm", "isolated", "centralised"))
    text = (folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in text]
    level = next(
        r["accuracy_mean"] for r in records if r["arm"] == "centralised" and r["round"] == 20
    )
    for record in records:
        if record["arm"] == "isolated" and record.get("accuracy_mean") is not None:
            record["accuracy_mean"] = level - 0.001
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    browser.open(written(folder), 1280)
    browser.run("(() => { const a = document.getElementById('axis'); a.value = 'bytes_total';"
                " a.dispatchEvent(new Event('change')); })()")  # fmt: skip
    names = browser.run(
        "[...document.querySelectorAll('#chart .level')].map(t => [t.textContent,"
        " t.getBoundingClientRect().top])"
    )
    assert [name for name, _ in names] == [
        "isolated (sends nothing)",
        "centralised (sends nothing)",
    ]
    assert names[0][1] - names[1][1] >= 14
    assert browser.errors == []


RANGE = """(() => { const ticks = [...document.querySelectorAll('#chart text[text-anchor=end]')].map(t => +t.textContent);
  return [Math.min(...ticks), Math.max(...ticks)]; })()"""


def set_value(browser: Browser, id: str, value: object) -> None:
    browser.run(f"(() => {{ const n = document.getElementById('{id}'); n.value = '{value}';"
                " n.dispatchEvent(new Event('change')); })()")  # fmt: skip


def test_the_upright_axis_zooms_to_a_range_and_back(make_run: MakeRun, browser: Browser) -> None:
    """By numbers, to the end of the curves, and by dragging; what does not work says why."""
    folder = make_run(rounds=20, devices=12)
    browser.open(written(folder), 1280)
    whole = browser.run(RANGE)
    last = load(folder).metrics
    late = last[last["round"] >= 10]["accuracy_mean"].dropna()
    browser.run("document.getElementById('yend').click()")
    low, high = (float(browser.run(f"document.getElementById('{id}').value")) for id in ("ylow", "yhigh"))  # fmt: skip
    assert low == pytest.approx(late.min() - 0.05 * (late.max() - late.min()), abs=1e-3)
    assert high == pytest.approx(late.max() + 0.05 * (late.max() - late.min()), abs=1e-3)
    assert low <= browser.run(RANGE)[0] < browser.run(RANGE)[1] <= high
    set_value(browser, "ylow", 0.5)
    set_value(browser, "yhigh", 0.51)
    assert browser.run(RANGE) == pytest.approx([0.5, 0.51])
    set_value(browser, "yhigh", 0.4)
    hint = "document.getElementById('charthint').textContent"
    assert "must lie below the upper one" in browser.run(hint)
    assert browser.run(RANGE) == pytest.approx([0.5, 0.51])
    browser.run("document.getElementById('yall').click()")
    assert browser.run(RANGE) == whole
    assert browser.run("document.getElementById('yall').disabled")
    browser.run("document.getElementById('chart').scrollIntoView()")
    x, top, height = browser.run("(() => { const b = document.querySelector('#chart svg').getBoundingClientRect();"
                                 " return [b.left + b.width / 2, b.top, b.height]; })()")  # fmt: skip
    places = (("mousePressed", 0.2), ("mouseMoved", 0.3), ("mouseReleased", 0.5))
    for kind, at in places:
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=top + at * height, button="left",
                     buttons=1, clickCount=1)  # fmt: skip
    zoomed = browser.run(RANGE)
    assert zoomed[1] - zoomed[0] < 0.5 * (whole[1] - whole[0])
    set_value(browser, "metric", "consensus_distance_mean")  # other numbers, another range
    assert browser.run("document.getElementById('yall').disabled")
    assert browser.errors == []
