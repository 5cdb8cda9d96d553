"""``bits`` counts what a packet takes: each compressor's rows are packed into bytes and read back without loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from swarm.wire.float16 import Float16
from swarm.wire.hashed import row_keys, uniform
from swarm.wire.low_rank import LowRank, factor, product, sides
from swarm.wire.qsgd import LEVELS, QSGD
from swarm.wire.random_k import RandomK
from swarm.wire.sign import Sign
from swarm.wire.top_k import TopK
from tests.wire.cases import CASES, WIDTH, draw, make, payload
from tests.wire.packing import Packet, Reader

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
    packet, starts = Packet(), dict(zip(c.factored, c.starts(draw(np.array([device]), ROUND)), strict=True))
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
            p, q = (reader.numbers(c.rank * side, v.dtype).view(1, c.rank, side) for side in sides(slot))
            out[slot.start : slot.stop] = product(p, q).flatten()
        else:
            out[slot.start : slot.stop] = reader.numbers(slot.stop - slot.start, v.dtype)
    return packet, out


PACKERS = {TopK: _top_k, RandomK: _random_k, QSGD: _qsgd, Sign: _sign, Float16: _float16, LowRank: _low_rank}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("case", "width"),
    [(c, w) for c in CASES for w in (1, 2, 64, 65, WIDTH) if w == WIDTH or not c.startswith("low_rank")],
)
def test_a_packet_takes_as_many_bits_as_are_counted(case: str, width: int, dtype: torch.dtype) -> None:
    compressor = make(case, number_bits=8 * dtype.itemsize)
    v_nM = payload(len(DEVICES), width, dtype)
    sent_nM = compressor(v_nM, draw(DEVICES, ROUND))
    for v, sent, device in zip(v_nM, sent_nM, DEVICES, strict=True):
        packet, read = PACKERS[type(compressor)](compressor, v, sent, int(device))
        assert packet.bits == compressor.bits(width)
        assert len(packet.bytes()) == -(-compressor.bits(width) // 8)
        assert torch.equal(read, sent)


def test_the_counts_of_the_default_model() -> None:
    """64-64-10: 4,810 numbers, matrices of 64 × 64 and 10 × 64."""
    M = 4810
    assert make("top_k").bits(M) == 481 * (32 + 13)
    assert make("random_k").bits(M) == 481 * 32 + 64
    assert make("qsgd", bits=4, bucket=512).bits(M) == M * 4 + 10 * 32
    assert make("sign").bits(M) == M + 32
    assert make("float16").bits(M) == 16 * M
    layout = make("low_rank").layout
    whole = layout.width - 60 - 140  # both larger matrices as factors of rank 2; the head of 4 × 7 takes 22 of 28 then
    assert make("low_rank").bits(layout.width) == 32 * (whole - 28 + 2 * (5 + 12) + 2 * (7 + 20) + 2 * (4 + 7))
