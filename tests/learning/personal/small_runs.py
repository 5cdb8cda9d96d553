"""Small runs with personal models."""

from __future__ import annotations

SMALL = ("devices=6", "topology=ring", "partition.alpha=0.3", "data.local_test=0.3", "rounds=3")


EACH = {
    "ditto": ("optimizer=momentum",),
    "fine_tune": ("optimizer=adam", "personal.fraction=0.7"),
    "apfl": ("update=online", "train.batch=2"),
    "pfedme": ("share=body",),
    "fedrep": ("share=body", "personal.head_steps=1", "optimizer=momentum"),
}
