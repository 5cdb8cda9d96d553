"""Data of your own with owners: a table whose column `person` says whose row it is.

    python examples/own_data.py [FOLDER]

Each person becomes one device and keeps their own rows; nobody sees anybody else's.
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd

import swarm

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp())
    draw = np.random.default_rng(0)
    people = ["ann", "bob", "cho", "dee", "eve", "fay", "gus", "hal"]
    habit = dict(zip(people, draw.normal(size=(8, 6)), strict=True))
    pace = {"sit": -1.0, "walk": 0.0, "run": 1.0}
    person, activity = np.repeat(people, 60), draw.choice(list(pace), 8 * 60)
    rows = [pace[a] + habit[p] + draw.normal(size=6) for a, p in zip(activity, person, strict=True)]
    table = pd.DataFrame(rows).add_prefix("sensor").assign(activity=activity, person=person)
    table.to_csv(folder / "people.csv", index=False)

    data = ["data=table", f"data.path={folder}/people.csv", "data.label=activity"]
    owners = ["data.device=person", "partition=natural", "devices=8"]
    small = ["topology=ring", "rounds=20", "optimizer.lr=0.1", "tracker=none"]
    result = swarm.run(swarm.compose([*data, *owners, *small]), folder / "run")
    devices = swarm.load(result.folder).final_devices("swarm")
    print(devices[["name", "accuracy", "own_accuracy"]].to_string(index=False))
