"""A swarm in ten lines: thirty devices learn to read digits from their neighbours.

    python examples/ten_lines.py [FOLDER]

The three other arms are its controls: the same devices alone, one model on all data, and a server.
"""

import sys
from tempfile import mkdtemp

import swarm

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else mkdtemp()
    settings = ["devices=30", "rounds=20", "topology=ring", "optimizer.lr=0.3", "tracker=none"]
    result = swarm.run(swarm.compose(settings), f"{folder}/run")
    for name, arm in result.summary["arms"].items():
        print(f"{name:12} accuracy {arm['accuracy_mean']:.3f}  bytes {arm['bytes_total']:,}")
    print("See", result.folder / "report.html")
