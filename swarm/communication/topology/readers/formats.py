"""The formats of graph files: how each is recognised, and what reads it."""

from __future__ import annotations

import bz2
import gzip
import io
import re
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Literal

from swarm.common.errors import ConfigError
from swarm.common.system.files import content
from swarm.communication.topology.readers import arrays, matrices
from swarm.communication.topology.readers.node_link import read_node_link
from swarm.communication.topology.readers.parsed import Parsed
from swarm.communication.topology.readers.text import adjacency_list, published
from swarm.communication.topology.readers.text.gml import read_gml
from swarm.communication.topology.readers.text.pajek import read_pajek
from swarm.communication.topology.readers.xml_formats import read_gexf, read_graphml, read_xml
from swarm.data.fetch.dataset_cache import locate

Format = Literal[
    "auto",
    "edgelist",
    "adjlist",
    "multiline_adjlist",
    "gml",
    "pajek",
    "konect",
    "dimacs",
    "sif",
    "gexf",
    "graphml",
    "node_link",
    "matrix",
    "matrix_market",
    "npy",
    "table",
]

Read = Callable[[bytes, Parsed], None]
READERS: dict[str, Read] = {
    "edgelist": arrays.read_any_edge_list,
    "adjlist": adjacency_list.read_adjacency_list,
    "multiline_adjlist": adjacency_list.read_multiline_adjacency_list,
    "gml": read_gml,
    "pajek": read_pajek,
    "konect": published.read_konect,
    "dimacs": published.read_dimacs,
    "sif": published.read_sif,
    "gexf": read_gexf,
    "graphml": read_graphml,
    "xml": read_xml,
    "node_link": read_node_link,
    "matrix": matrices.read_text_matrix,
    "matrix_market": matrices.read_matrix_market,
}
_SUFFIXES = {
    ".graphml": "graphml",
    ".gexf": "gexf",
    ".xml": "xml",
    ".json": "node_link",
    ".cyjs": "node_link",
    ".gml": "gml",
    ".net": "pajek",
    ".paj": "pajek",
    ".pajek": "pajek",
    ".sif": "sif",
    ".mtx": "matrix_market",
    ".adjlist": "adjlist",
    ".multiline_adjlist": "multiline_adjlist",
    ".npy": "npy",
    ".npz": "table",
    ".parquet": "table",
    ".arrow": "table",
}
_STARTS = [
    (re.compile(rb"<"), "xml"),
    (re.compile(rb"\{"), "node_link"),
    (re.compile(rb"%%MatrixMarket", re.IGNORECASE), "matrix_market"),
    (re.compile(rb"\*(network|vertices)\b", re.IGNORECASE), "pajek"),
    (re.compile(rb"%\s*(sym|asym|bip)\s"), "konect"),
    (re.compile(rb"(c\s.*\n|c\n)*p\s+(edge|col|sp|aux)\s"), "dimacs"),
    (re.compile(rb"(Creator\s|graph\s*\[)"), "gml"),
]
# Formats that are not read, and what writes one that is.
_INSTEAD = {
    **dict.fromkeys((".graph", ".metis"), "METIS is not read (format=edgelist reads pairs)"),
    ".lgl": "LGL is not read; igraph writes .graphml and .gml",
    **dict.fromkeys((".dot", ".gv"), "DOT is not read; networkx.nx_pydot.read_dot reads it"),
    ".gt": "graph-tool's own format is not read; its save() writes .graphml",
    **dict.fromkeys((".g6", ".s6"), "networkx.read_graph6 or read_sparse6 reads it"),
    **dict.fromkeys((".gpickle", ".pickle", ".pkl"), "pickles are never read"),
}
_WRITES = "networkx.write_edgelist writes a file that can be read"
_PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}


def read_graph_file(path: str, format: Format, parsed: Parsed, max_mib: float) -> None:
    """Read the graph in the file at ``path`` into ``parsed``.

    Raises ``ConfigError`` for a file that cannot be opened or is too large, and ``ValueError`` that
    says what is wrong in it.
    """
    names = PurePath(path.lower())
    packed = names.suffix in _PACKED
    suffix = PurePath(names.stem).suffix if packed else names.suffix
    found = _SUFFIXES.get(suffix) if format == "auto" else format
    data = read_capped(path, max_mib)
    if format == "auto" and suffix in _INSTEAD:
        raise ValueError(f"{_INSTEAD[suffix]}, and {_WRITES}")
    if found not in ("npy", "table"):
        READERS[found or _format_of(data)](data, parsed)
    elif packed:
        raise ValueError(f"a {suffix} file in a {names.suffix} file is not read; unpack it first")
    elif found == "npy":
        arrays.read_npy_file(locate(path), parsed)
    elif suffix == ".npz" and matrices.is_sparse(data):
        matrices.read_sparse(locate(path), data, parsed, int(max_mib * 2**20))
    else:
        arrays.read_edge_table(locate(path), parsed, int(max_mib * 2**20))


def read_capped(path: str, max_mib: float) -> bytes:
    """Read the bytes of a regular file of at most ``max_mib`` MiB; those of a ``.gz`` or ``.bz2``
    file are unpacked, to at most as many.

    Raises ``ConfigError`` on ``path`` for a file that is larger or cannot be read.
    """
    most, limit = int(max_mib * 2**20), f"max_mib={max_mib:g}"
    data = content(locate(path), most, limit, shown=path)
    unpack = _PACKED.get(PurePath(path.lower()).suffix)
    if unpack is None:
        return data
    try:
        with unpack(io.BytesIO(data)) as file:
            found: bytes = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError("path", path, f"cannot be unpacked ({error}); check the file") from None
    if len(found) > most:
        raise ConfigError(
            "path", path, f"unpacks to more than {limit}; raise max_mib if you trust it"
        )
    return found


def _format_of(data: bytes) -> str:
    start = data[:1000].removeprefix(b"\xef\xbb\xbf").lstrip()
    known = next((name for pattern, name in _STARTS if pattern.match(start)), None)
    if known is not None:
        return known
    text = data.decode("utf-8", "replace") if start.startswith(b"#") else ""
    multiline = adjacency_list.is_multiline(text)
    if multiline is None:
        return "matrix" if matrices.is_matrix(data) else "edgelist"
    return "multiline_adjlist" if multiline else "adjlist"
