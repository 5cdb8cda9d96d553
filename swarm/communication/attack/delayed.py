"""Hostile devices that send what they had long ago."""

from __future__ import annotations

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.communication.attack.base import Attacking, MessageAttack, Placement


class Delayed(MessageAttack):
    """v ← the device's own row of ``lag`` rounds ago; its row of the first round before that.

    The network delivers the message at once, so that its age of 0 says nothing of how old it is.
    """

    def __init__(
        self,
        lag: int = 10,
        devices: int | float | list[int] = 0.1,
        placement: Placement = "random",
    ) -> None:
        """Set the lag; raises :class:`ConfigError` unless it lies between 1 and 1000."""
        super().__init__(devices, placement)
        if not 1 <= lag <= 1000:
            raise ConfigError("lag", lag, "must be a number of rounds between 1 and 1000")
        self.memory = lag

    def __call__(self, rows_nM: Tensor, attacking: Attacking) -> Tensor:
        """See :meth:`MessageAttack.__call__`."""
        assert attacking.earlier_nM is not None
        return attacking.earlier_nM
