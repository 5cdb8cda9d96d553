"""A name has one colour on a page, and no two curves of a picture look alike while there is another
look."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from swarm.experiments.claims.charts import Chart, Line
from swarm.experiments.claims.page.line_looks import COLOURS, looks
from swarm.experiments.claims.page.pictures import DARK, LIGHT
from swarm.experiments.sweep.picture import looks as sweep_looks
from swarm.results.load import Run
from swarm.results.presentation import ArmStyle, Presentation
from swarm.results.report.style import colours, dashes, muted, muted_line

Floats = npt.NDArray[np.float64]


def run_of(styles: dict[str, ArmStyle]) -> Run:
    rows = pd.DataFrame({"arm": [*styles], "round": 0})
    return Run(
        Path("r"), {}, rows, pd.DataFrame(), None, None, presentation=Presentation(styles, ())
    )


STYLES = {
    "swarm": ArmStyle("lead"),
    "isolated": ArmStyle("lower"),
    "fedavg": ArmStyle("control", ("#009E73", "#34d3a2"), dash="dashdot"),
    "own": ArmStyle("other", ("#cc79a7", "#f0a3cc")),
}


@pytest.mark.parametrize("many", [1, 6, 7, 24])
@pytest.mark.parametrize("declared", [{}, STYLES], ids=["none declared", "some declared"])
def test_arms_share_a_colour_only_when_all_are_taken(
    many: int, declared: dict[str, ArmStyle]
) -> None:
    run = run_of(declared | {f"arm{i}": ArmStyle() for i in range(many)})
    found = colours(run)
    for shade in (0, 1):
        first = [pair[shade].lower() for pair in found.values()][:10]
        assert len(set(first)) == len(first)
    own = [arm for arm in found if arm not in declared and arm != run.lead]
    seen = [(found[arm], dashes(arm, run)) for arm in own]
    assert len(set(seen)) == len(seen)


def test_controls_of_a_sweep_look_different() -> None:
    controls = {f"control{i}": ArmStyle("control") for i in range(12)}
    shown = Presentation({"swarm": ArmStyle("lead"), **controls}, ())
    seen = {(muted(arm, shown), muted_line(arm, shown)) for arm in controls}
    assert len(seen) == len(controls)
    assert "solid" not in {line for _, line in seen}  # that is the combinations'


def chart(*names: str) -> Chart:
    x = np.arange(3.0)
    return Chart("t", "x", "y", [Line(name, x, x, x, x) for name in names])


def test_a_line_has_one_look_in_all_charts_of_a_claim() -> None:
    charts = [chart("mean", "median"), chart("median", "krum", "mean"), chart("krum", "none")]
    assert looks(charts) == {"mean": 0, "median": 1, "krum": 2, "none": 3}


def test_what_is_said_of_a_line_behind_its_name_changes_no_colour() -> None:
    charts = [chart("ring", "star"), chart("star, 32 devices", "ring: 16"), chart("none", "ring")]
    found = looks(charts)
    assert found["ring"] == found["ring: 16"] == 0
    assert found["star"] == found["star, 32 devices"] == 1
    both = looks([chart("swarm", "swarm, deltas only"), chart("swarm, deltas only", "alone")])
    assert both == {"swarm": 0, "swarm, deltas only": 1, "alone": 2}


def test_no_chart_uses_a_colour_twice_while_another_is_free() -> None:
    """With more names on the page than there are colours."""
    few = [chart(*(f"{page}{i}" for i in range(6))) for page in "abc"]
    mixed = [chart(*(f"{page}0" for page in "abc"), "a5", "b5"), *few]
    crowded = [chart(*(f"a{i}" for i in range(25))), chart("a24", "b0", "a3")]
    for charts in (few, mixed, crowded):
        found = looks(charts)
        for each in charts:
            names = [line.name for line in each.lines]
            places = [found[name] for name in names]
            assert len(set(places)) == len(places)
            different = {place % COLOURS for place in places}
            assert len(different) == min(len(names), COLOURS)


def test_the_order_of_charts_makes_no_chart_use_a_colour_twice() -> None:
    """Names that are met first take colours that a full chart needs later."""
    later = [f"n{i}" for i in range(COLOURS)]
    first = [chart("x", *later[: COLOURS - 1]), chart("y", *later[1:])]
    found = looks([*first, chart(*later)])
    assert max(found.values()) < COLOURS


def lab(colour: str) -> Floats:
    """A colour in CIELAB, where two that differ by 20 and more are told apart at a glance."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


ARMS = colours(run_of({f"arm{i}": ArmStyle() for i in range(10)})).values()
PALETTES = {
    "claim, light": (*LIGHT.lines, LIGHT.page),
    "claim, dark": (*DARK.lines, DARK.page),
    "arms, light": (*(light for light, _ in ARMS), LIGHT.page),
    "arms, dark": (*(dark for _, dark in ARMS), DARK.page),
    "sweep": (*sweep_looks.COLOURS, "#ffffff"),
}


@pytest.mark.parametrize("name", PALETTES)
def test_colours_are_told_apart(name: str) -> None:
    for one, other in itertools.combinations(PALETTES[name], 2):
        assert np.linalg.norm(lab(one) - lab(other)) > 20, (one, other)
    assert len(LIGHT.lines) == len(DARK.lines) == COLOURS
