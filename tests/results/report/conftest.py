"""Synthetic run folders with plausible curves, in the format that a run writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import yaml

FINAL = {"swarm": 0.953, "isolated": 0.655, "centralised": 0.962, "fedavg": 0.949}
SPREAD = {"swarm": 0.006, "isolated": 0.09, "centralised": 0.0, "fedavg": 0.0}
BYTES = {"swarm": 100 * 4 * 19240, "isolated": 0, "centralised": 0, "fedavg": 2 * 100 * 19240}


def write_run(
    folder: Path,
    arms: tuple[str, ...] = ("swarm", "isolated", "centralised", "fedavg"),
    devices: int = 100,
    rounds: int = 100,
    score: str | None = "accuracy",
    every: int = 5,
    finished: bool = True,
    diverged: dict[str, tuple[int, int]] | None = None,
    config: dict[str, Any] | None = None,
    graph: bool = True,
) -> Path:
    """Writes a run folder: what a finished (or interrupted) run of ``arms`` would leave."""
    folder.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    tables = []
    for number, arm in enumerate(arms):
        stop = (diverged or {}).get(arm, (0, rounds))[1]
        arm_records, table = _arm(
            arm, np.random.default_rng(number), devices, rounds, stop, score, every
        )
        records += arm_records
        tables.append(table)
    with (folder / "metrics.jsonl").open("w") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    settings = {
        "devices": devices,
        "rounds": rounds,
        "seed": 0,
        "topology": {"_target_": "small_world", "k": 4},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | (config or {})))
    if score is not None:
        pd.concat(tables).to_parquet(folder / "devices.parquet")
    if graph:
        (folder / "graph.json").write_text(json.dumps(_graph(devices)))
    if finished:
        summary = _summary(folder.name, arms, devices, rounds, records, score, diverged or {})
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def _arm(
    arm: str,
    rng: np.random.Generator,
    devices: int,
    rounds: int,
    stop: int,
    score: str | None,
    every: int,
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    n = 1 if arm == "centralised" else devices
    final, spread = FINAL.get(arm, 0.8), SPREAD.get(arm, 0.03)
    offset_N = np.sort(rng.normal(0, 1, n))
    rng.shuffle(offset_N)
    records, rows = [], []
    for r in range(stop + 1):
        record: dict[str, Any] = {
            "arm": arm, "round": r, "virtual_s": float(r), "wall_s": 0.05 * r + 0.1, "awake": n,
            "steps": n if r and score else 0, "messages": 400, "bytes": BYTES.get(arm, 0) if r else 0,
            "messages_total": 400 * r, "bytes_total": BYTES.get(arm, 0) * r, "lr": 0.1,
        }  # fmt: skip
        if score is None:
            record["consensus_distance"] = 10 * 0.949253**r
            records.append(record)
            continue
        if score == "accuracy":
            record["prequential_accuracy"] = (
                (final - (final - 0.1) * np.exp(-r / 12)) if r else None
            )
        record["train_loss"] = 2.3 * np.exp(-r / 20) + 0.02
        record["consensus_distance"] = (
            None if arm == "centralised" else 3 * (1 - np.exp(-r / 10)) * np.exp(-r / 80)
        )
        if r % every == 0 or r == stop:
            width = spread + 0.12 * np.exp(-r / 12) * (n > 1)
            mean = final - (final - 0.1) * np.exp(-r / 11)
            values_N = np.clip(mean + width * offset_N, 0.02, 0.999)
            low, p10, median, p90, high = np.quantile(values_N, [0, 0.1, 0.5, 0.9, 1])
            record |= {f"{score}_mean": values_N.mean(), f"{score}_min": low, f"{score}_p10": p10,
                       f"{score}_median": median, f"{score}_p90": p90, f"{score}_max": high,
                       "loss_mean": 2.3 * np.exp(-r / 15) + 0.1, f"own_{score}_mean": min(values_N.mean() + 0.02, 1),
                       f"consensus_{score}": mean + 0.004, f"ensemble_{score}": mean + 0.002}  # fmt: skip
            rows.append(pd.DataFrame({"arm": arm, "round": r, "device": np.arange(n), score: values_N,
                                      f"own_{score}": values_N + 0.01, "loss": 1 - values_N}))  # fmt: skip
        records.append(record)
    return records, pd.concat(rows) if rows else pd.DataFrame()


def _graph(devices: int) -> dict[str, Any]:
    graph = nx.watts_strogatz_graph(devices, min(4, max(devices - 1, 0)), 0.2, seed=0)
    return {
        "n": devices,
        "directed": False,
        "edges": [list(e) for e in graph.edges],
        "pos": None,
        "truncated": False,
    }


def _summary(
    name: str, arms: tuple[str, ...], devices: int, rounds: int, records: list[dict[str, Any]], score: str | None,
    diverged: dict[str, tuple[int, int]],
) -> dict[str, Any]:  # fmt: skip
    finals = {}
    for arm in arms:
        last = [record for record in records if record["arm"] == arm][-1]
        finals[arm] = {k: v for k, v in last.items() if k not in ("arm", "round", "steps", "messages", "bytes")} | {
            "steps_per_s": 8123.4, "params_sha256": "ab" * 32, "rounds": last["round"],
            "diverged": {"device": diverged[arm][0], "round": diverged[arm][1]} if arm in diverged else None,
        }  # fmt: skip
    gap, reason = None, "needs the arms swarm, isolated and centralised"
    if score and {"swarm", "isolated", "centralised"} <= set(arms):
        s, i, c = (finals[arm][f"{score}_mean"] for arm in ("swarm", "isolated", "centralised"))
        gap, reason = (s - i) / (c - i), None
    summary: dict[str, Any] = {
        "schema": 1, "run": name, "scenario": "growth" if score else "consensus", "seed": 0, "rounds": rounds,
        "devices": devices, "gap_closed": gap, "gap_closed_reason": reason,
        "versions": {"swarm-sim": "0.1.0", "torch": "2.9.0", "numpy": np.__version__, "python": "3.11"},
        "topology": {"name": "small_world", "edges": 2 * devices, "mean_degree": 4.0, "components": 1,
                     "spectral_gap": 0.1138, "effective_neighbours": 7.31},
        "data": {"name": "digits", "train": 1437, "validation": 180, "test": 180, "classes": 10, "features": [64]},
        "engine": {"name": "local", "block": 7}, "arms": finals,
    }  # fmt: skip
    if score is None:
        summary |= {"rate_measured": 0.949251}
        summary["topology"]["rho"] = 0.949253
    return summary


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """``make_run(name="r", **options)``: a synthetic run folder under ``tmp_path``; see
    :func:`write_run`.
    """
    return lambda name="run", **options: write_run(tmp_path / name, **options)
