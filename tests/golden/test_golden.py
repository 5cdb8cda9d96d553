"""Golden curves: a refactoring may not move them.

Accuracy and training loss of every round of small runs like the default one, against
``curves.json``. The tolerance leaves room for another processor's last bits (float64 moves the
losses by 1e-6) and a test sample or two that tips over, and for no more. After a change of the
algorithm that is *meant* to move the curves, look at both, and write them anew by hand:

    python tests/golden/regenerate.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.curves import ARMS, curves

STORED = Path(__file__).with_name("curves.json")
# one sample of one device moves a mean by 1/7200, that of the centralised arm by 1/360
LOSS, ACCURACY = 1e-4, 3e-3


@pytest.mark.parametrize("arm", ARMS)
def test_curves_have_not_moved(arm: str) -> None:
    expected, found = json.loads(STORED.read_text())[arm], curves(arm)
    assert found.keys() == expected.keys()
    for name in expected:
        tolerance = LOSS if "loss" in name else ACCURACY
        assert found[name] == pytest.approx(expected[name], abs=tolerance), name


def test_the_stored_curves_tell_a_story() -> None:
    """They start at chance, and the swarm ends well above the isolated devices."""
    stored = json.loads(STORED.read_text())
    for arm in ARMS:
        assert len(stored[arm]["accuracy_mean"]) == 16
        assert stored[arm]["accuracy_mean"][0] < 0.25
        assert stored[arm]["train_loss"][0] > stored[arm]["train_loss"][-1]
    assert stored["swarm"]["accuracy_mean"][-1] > stored["isolated"]["accuracy_mean"][-1] + 0.1
