"""Hostile devices that flood their neighbours with messages."""

from __future__ import annotations

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attacking, MessageAttack, Placement


class Flooding(MessageAttack):
    """Each message is sent ``copies`` times, and the row is as it was learned.

    All copies are counted, take time on the sender's line and cost its neighbours energy. Where
    messages are mixed, one message of a sender counts; a protocol that reads them one by one, such
    as gossip learning, reads them all.
    """

    def __init__(
        self,
        copies: int = 10,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set the number; raises :class:`ConfigError` unless it lies between 2 and 1000."""
        super().__init__(devices, placement)
        if not 2 <= copies <= 1000:
            raise ConfigError("copies", copies, "must be a number of messages between 2 and 1000")
        self.copies = copies

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        return rows_nM
