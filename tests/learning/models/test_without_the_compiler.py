"""The check of a model that comes along imports no compiler: that takes a second and 90 MB."""

from __future__ import annotations

import subprocess
import sys

ASKS = """
import sys
import swarm
from swarm.config.build import options

COMPILER = "torch._dynamo"
small = ["devices=2", "rounds=1", "topology=ring", "scenario.arms=[swarm]", "tracker=none"]
tokens = ["data=markov", "data.context=8", "partition=natural"]
image = ["data.flat=false"]
needs = {
    "cnn": image,
    "lenet": [*image, "model.channels=[4]", "model.groups=[]"],
    **dict.fromkeys(("gru", "mcsd", "transformer"), tokens),
}
for name in set(options("model")) - {"custom", "lora"}:  # which are models of the user's own
    words = needs.get(name, [])
    swarm.check(overrides=[f"model={name}", *small, *words])
    assert COMPILER not in sys.modules, name
"""


def test_the_check_of_a_model_imports_no_compiler() -> None:
    words = [sys.executable, "-c", ASKS]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
