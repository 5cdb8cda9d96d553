"""Where a run's records go: the file that is the truth, and the mirrors that may fail (console,
W&B).
"""

from swarm.results.track.base import Fanout, Sink, Tracker
from swarm.results.track.console import ConsoleSink, print_summary
from swarm.results.track.jsonl import JsonlSink, read_jsonl, truncate

__all__ = [
    "ConsoleSink",
    "Fanout",
    "JsonlSink",
    "Sink",
    "Tracker",
    "print_summary",
    "read_jsonl",
    "truncate",
]
