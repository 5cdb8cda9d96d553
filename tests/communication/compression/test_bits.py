"""``bits`` counts what a packet takes: each compressor's rows are packed into bytes and read back
without loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm.common.rows import Hidden, Layout
from swarm.communication.compression.float16 import Float16
from swarm.communication.compression.hash_rng import row_keys, uniform
from swarm.communication.compression.low_rank import LowRank, factor, product, sides
from swarm.communication.compression.neurons import Neurons
from swarm.communication.compression.qsgd import LEVELS, QSGD
from swarm.communication.compression.random_k import RandomK
from swarm.communication.compression.sign import Sign
from swarm.communication.compression.top_k import TopK
from swarm.learning.models.dense import MLP
from tests.communication.compression.cases import CASES, WIDTH, draw, make, payload
from tests.communication.compression.packing import Packet, Reader

DEVICES = np.array([5, 17, 3, 8, 11, 2])
ROUND = 9


def _top_k(c: TopK, v: Tensor, sent: Tensor, device: int) -> tuple[Packet, Tensor]:
    """Position, value, position, value …"""
    packet, k, wide = Packet(), c.kept(len(v)), (len(v) - 1).bit_length()
    order = np.lexsort((np.arange(len(v)), -v.abs().numpy()))[:k]  # not by the code under test
    for place in sorted(order):
        packet.write(int(place), wide)
        packet.numbers(sent[place, None])
    reader, out = Reader(packet.bytes()), torch.zeros_like(v)
    for _ in range(k):
        place = reader.read(wide)
        out[place] = reader.numbers(1, v.dtype)[0]
    return packet, out


def _random_k(c: RandomK, v: Tensor, sent: Tensor, device: int) -> tuple[Packet, Tensor]:
    """(device, round), then the values; the reader draws the places itself."""
    packet = Packet()
    packet.write(device, 32)
    packet.write(ROUND, 32)
    packet.numbers(sent[c.places(len(v), draw(np.array([device]), ROUND))[0]])
    reader = Reader(packet.bytes())
    known = draw(np.array([reader.read(32)]), reader.read(32))
    out = torch.zeros_like(v)
    out[c.places(len(v), known)[0]] = reader.numbers(c.kept(len(v)), v.dtype)
    return packet, out


def _qsgd(c: QSGD, v: Tensor, sent: Tensor, device: int) -> tuple[Packet, Tensor]:
    """For each bucket its unit ‖v‖/s, then a code a number."""
    s, M = LEVELS[c.code_bits], len(v)
    u = torch.from_numpy(uniform(row_keys(draw(np.array([device]), ROUND)), M)).to(v.dtype)
    level, unit = c.levels(v[None], u)
    shrink = 1.0 if c.unbiased else 1.0 / (1.0 + c.variance(M))
    packet = Packet()
    packet.numbers(unit.flatten() * shrink)
    for q in level.flatten()[:M].int().tolist():
        packet.write(q + s, c.code_bits)
    reader = Reader(packet.bytes())
    units = reader.numbers(unit.numel(), v.dtype)
    codes = torch.tensor([reader.read(c.code_bits) - s for _ in range(M)], dtype=v.dtype)
    return packet, codes * units.repeat_interleave(c.size(M))[:M]


def _sign(c: Sign, v: Tensor, sent: Tensor, device: int) -> tuple[Packet, Tensor]:
    """The scale, then a bit a number."""
    packet = Packet()
    packet.numbers(sent[:1].abs())
    for negative in torch.signbit(sent).tolist():
        packet.write(int(negative), 1)
    reader = Reader(packet.bytes())
    scale = reader.numbers(1, v.dtype)
    return packet, torch.cat([-scale if reader.read(1) else scale for _ in range(len(v))])


def _float16(c: Float16, v: Tensor, sent: Tensor, device: int) -> tuple[Packet, Tensor]:
    packet = Packet()
    packet.numbers(sent.to(torch.float16))
    return packet, Reader(packet.bytes()).numbers(len(v), torch.float16).to(v.dtype)


def _low_rank(c: LowRank, v: Tensor, sent: Tensor, device: int) -> tuple[Packet, Tensor]:
    """Slot by slot: both factors, or the parameter as it is."""
    packet, starts = (
        Packet(),
        dict(zip(c.factored, c.starts(draw(np.array([device]), ROUND)), strict=True)),
    )
    for slot in c.layout.slots:
        part = v[slot.start : slot.stop]
        if slot in starts:
            for each in factor(part.view(1, *sides(slot)), starts[slot].to(v)):
                packet.numbers(each.flatten())
        else:
            packet.numbers(part)
    reader, out = Reader(packet.bytes()), torch.empty_like(v)
    for slot in c.layout.slots:
        if slot in starts:
            p, q = (
                reader.numbers(c.rank * side, v.dtype).view(1, c.rank, side) for side in sides(slot)
            )
            out[slot.start : slot.stop] = product(p, q).flatten()
        else:
            out[slot.start : slot.stop] = reader.numbers(slot.stop - slot.start, v.dtype)
    return packet, out


def _neurons(c: Neurons, v: Tensor, sent: Tensor, device: int) -> tuple[Packet, Tensor]:
    """For each hidden layer a bit for each neuron (or their numbers, if shorter; nothing if all are
    sent), then the numbers of the model in order, without those of neurons that stay."""
    packet = Packet()
    there = torch.ones(len(v), dtype=torch.bool)
    for layer, (kept, owners) in zip(c.layout.hidden, _chosen(c, v), strict=True):
        write_names(packet, kept, layer.width)
        for neuron in set(range(layer.width)) - set(kept):
            there[owners[neuron]] = False
    packet.numbers(sent[there])
    reader, out, there = (
        Reader(packet.bytes()),
        torch.zeros_like(v),
        torch.ones(len(v), dtype=torch.bool),
    )
    for layer in c.layout.hidden:
        kept = read_names(reader, c.kept(layer), layer.width)
        for neuron in set(range(layer.width)) - set(kept):
            there[owners_of(c, layer)[neuron]] = False
    out[there] = reader.numbers(int(there.sum()), v.dtype)
    return packet, out


def _chosen(c: Neurons, v: Tensor) -> list[tuple[list[int], dict[int, list[int]]]]:
    """The neurons that each layer sends, counted by hand, and which numbers of a row belong to
    each.
    """
    found, left = [], v.double().tolist()
    for layer in c.layout.hidden:
        owners = owners_of(c, layer)
        size = {neuron: sum(left[i] ** 2 for i in places) for neuron, places in owners.items()}
        kept = sorted(size, key=lambda neuron: (-size[neuron], neuron))[: c.kept(layer)]
        for neuron in set(owners) - set(kept):
            for i in owners[neuron]:
                left[i] = 0.0
        found.append((sorted(kept), owners))
    return found


def owners_of(c: Neurons, layer: Hidden) -> dict[int, list[int]]:
    """{neuron: the places of its numbers in a row}."""
    slots, owners = (
        {s.name: s for s in c.layout.slots},
        {neuron: list[int]() for neuron in range(layer.width)},
    )
    for name, axis in layer.axes:
        slot = slots[name]
        for offset, index in enumerate(np.ndindex(slot.shape)):
            owners[index[axis] * layer.width // slot.shape[axis]].append(slot.start + offset)
    return owners


def write_names(packet: Packet, kept: list[int], width: int) -> None:
    wide = (width - 1).bit_length()
    if len(kept) == width:
        return
    if len(kept) * wide <= width:
        for neuron in kept:
            packet.write(neuron, wide)
    else:
        for neuron in range(width):
            packet.write(int(neuron in kept), 1)


def read_names(reader: Reader, count: int, width: int) -> list[int]:
    wide = (width - 1).bit_length()
    if count == width:
        return list(range(width))
    if count * wide <= width:
        return [reader.read(wide) for _ in range(count)]
    return [neuron for neuron in range(width) if reader.read(1)]


PACKERS = {
    Neurons: _neurons,
    TopK: _top_k,
    RandomK: _random_k,
    QSGD: _qsgd,
    Sign: _sign,
    Float16: _float16,
    LowRank: _low_rank,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("case", "width"),
    [
        (c, w)
        for c in CASES
        for w in (1, 2, 64, 65, WIDTH)
        if w == WIDTH or not c.startswith(("low_rank", "neurons"))
    ],
)
def test_a_packet_takes_as_many_bits_as_are_counted(
    case: str, width: int, dtype: torch.dtype
) -> None:
    compressor = make(case, number_bits=8 * dtype.itemsize)
    v_nM = payload(len(DEVICES), width, dtype)
    sent_nM = compressor(v_nM, draw(DEVICES, ROUND))
    for v, sent, device in zip(v_nM, sent_nM, DEVICES, strict=True):
        packet, read = PACKERS[type(compressor)](compressor, v, sent, int(device))
        assert packet.bits == compressor.bits(width)
        assert len(packet.bytes()) == -(-compressor.bits(width) // 8)
        assert torch.equal(read, sent)


def neurons_of(hidden: int, **options: Any) -> Neurons:
    return Neurons(Layout.of(MLP((64,), 10, [hidden])), **options)


def test_the_counts_of_the_default_model() -> None:
    """64-64-10: 4,810 numbers, matrices of 64 × 64 and 10 × 64."""
    M = 4810
    assert make("top_k").bits(M) == 481 * (32 + 13)
    assert make("random_k").bits(M) == 481 * 32 + 64
    assert make("qsgd", bits=4, bucket=512).bits(M) == M * 4 + 10 * 32
    assert make("sign").bits(M) == M + 32
    assert make("float16").bits(M) == 16 * M
    # a bit for each neuron is less than 16 · 6
    assert neurons_of(64).bits(M) == (16 * (64 + 1 + 10) + 10) * 32 + 64
    assert neurons_of(64, share=2 / 64).bits(M) == (2 * 75 + 10) * 32 + 12
    layout = make("low_rank").layout
    # both larger matrices as factors of rank 2; the head of 4 × 7 takes 22 of 28 then
    whole = layout.width - 60 - 140
    assert make("low_rank").bits(layout.width) == 32 * (
        whole - 28 + 2 * (5 + 12) + 2 * (7 + 20) + 2 * (4 + 7)
    )
