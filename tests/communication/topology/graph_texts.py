"""Small graphs as files, as others write them."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarm.communication.topology.file import File


def written(write: Callable[..., Any], **options: Any) -> Callable[[Any], bytes]:
    def of(graph: Any) -> bytes:
        file = io.BytesIO()
        write(graph, file, **options)
        return file.getvalue()

    return of


def as_json(make: Callable[..., Any], **options: Any) -> Callable[[Any], bytes]:
    return lambda graph: json.dumps(make(graph, **options)).encode()


def file_of(folder: Path, name: str, data: bytes | str, devices: int, **options: Any) -> File:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with warnings.catch_warnings(action="ignore"):
        return File(devices, str(path), **options)


def named_edges(file: File) -> set[Any]:
    graph = file.graph(0)
    names = file.node_names or tuple(map(str, range(graph.n)))
    kind = tuple if graph.directed else frozenset
    return {kind(names[i] or "" for i in edge) for edge in graph.links_E2.tolist()}
