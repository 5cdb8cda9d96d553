"""The base of compressors that send some of the numbers of a row and leave out the others."""

from __future__ import annotations

from swarm.common.errors import ConfigError
from swarm.communication.compression.base import Compressor


class Sparse(Compressor):
    """Keeps k = max(1, round(``fraction`` · M)) of M numbers, each sent in ``number_bits``.

    Raises :class:`ConfigError` for a fraction outside (0, 1].
    """

    def __init__(self, fraction: float, feedback: bool, number_bits: int) -> None:
        if not 0 < fraction <= 1:
            raise ConfigError(
                "fraction",
                fraction,
                "must be above 0 and at most 1: the share of the numbers that is sent",
            )
        self.fraction, self.feedback, self.number_bits = fraction, feedback, number_bits

    def kept(self, width: int) -> int:
        """Return k, how many of the ``width`` numbers of a row are sent."""
        return max(1, round(self.fraction * width))


def index_bits(width: int) -> int:
    """Return ⌈log₂ M⌉, the bits of a position in a row of M = ``width`` numbers."""
    return (width - 1).bit_length()
