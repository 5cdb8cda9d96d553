"""The runs behind the golden curves, shared by their test and by the script that writes them
anew.
"""

from __future__ import annotations

from tests.support import prepared, records

ARMS = ("swarm", "isolated", "centralised", "fedavg")
SETTINGS = (
    "devices=20",
    "rounds=15",
    "seed=0",
    "optimizer.lr=0.3",
    "train.batch=32",
    "train.local_steps=5",
)


def curves(arm: str) -> dict[str, list[float]]:
    """The mean accuracy after rounds 0 … 15 and the training loss of rounds 1 … 15 of one arm."""
    found = [r.values for r in records(prepared(*SETTINGS, f"scenario.arms=[{arm}]"))]
    return {
        "accuracy_mean": [round(v["accuracy_mean"], 6) for v in found],
        "train_loss": [round(v["train_loss"], 6) for v in found[1:]],
    }
