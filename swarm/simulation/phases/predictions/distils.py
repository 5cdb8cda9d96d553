"""What the phases of predictions have in common: which rows devices send, and how they learn from
what they receive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.common.rng import derive
from swarm.communication.protocol.base import Rows
from swarm.communication.protocol.distillation import Distillation
from swarm.data.local_test import PUBLIC
from swarm.learning.distillation import SAMPLES_AT_ONCE
from swarm.simulation.phases.base import Bools, Floats, Ints, Phase
from swarm.simulation.phases.learn import learning_rate

if TYPE_CHECKING:
    from swarm.simulation.experiment import Experiment
    from swarm.simulation.experiment.communication import Communication
    from swarm.simulation.shard import Shard

ENOUGH = 0.1  # of the training samples, which an error proposes to share


class Distils(Phase):
    """A phase in which every device sends its predictions for the shared samples of the round, and
    takes steps towards the mean of those that it receives.

    Only the active devices that hear another one take steps: what a device makes of its own
    predictions alone is its own model.
    """

    of_parameters = False

    def __init__(self, number: int, communication: Communication) -> None:
        super().__init__(number, communication)
        protocol, public = called(self.protocol), communication.data.dataset.public
        if self.protocol.distillation is None:
            valid = "needs distillation=Distillation(…) for its phase of predictions"
            raise ConfigError("/protocol", protocol, valid)
        self.settings: Distillation = self.protocol.distillation
        if public is None or not len(public):
            valid = f"must be above 0 with {protocol}, whose devices predict training samples that"
            found = communication.settings.data.get(PUBLIC, 0)
            raise ConfigError(f"data.{PUBLIC}", found, f"{valid} they share; {ENOUGH} would do")
        self.public_S: Ints = public
        try:
            self.settings.check(len(public))
        except ConfigError as error:
            raise error.under("protocol") from None

    # --- in a round -------------------------------------------------------------------------------

    def samples(self, round: int) -> Ints:
        """The ids of the samples that the messages of ``round`` are about, ``[S]``."""
        return self.settings.drawn(self.public_S, round, self.communication.settings.seed)

    def rows(self, shard: Shard, round: int) -> Tensor:
        """The predictions of the shard's devices, ``[n, M]``, block by block: also those of devices
        that send nothing, so that the others' bits do not depend on who is there."""
        x_S, _ = shard.batch_loader.samples(self.samples(round))
        distiller = shard.experiment.distiller
        assert distiller is not None, "made for every protocol that exchanges predictions"
        found_nM = shard.state.x.new_empty(len(shard.devices), self.width)
        for _, rows in shard.experiment.blocks.slices(shard.blocks):
            own = distiller.of(shard.devices[rows])
            found_nM[rows] = own.messages(shard.whole(rows), x_S)
        return found_nM

    def hearing(self, round: int) -> Bools:
        """The devices that hear another one in ``round``, ``[N]``."""
        raise NotImplementedError

    def learn_from(
        self, shard: Shard, round: int, received_nM: Tensor, heard_n: Bools | None
    ) -> None:
        """Let the active devices of a shard that have heard another one (``heard_n``; None: all)
        learn from their mean predictions ``received_nM``."""
        e, distiller = shard.experiment, shard.experiment.distiller
        assert distiller is not None, "made for every protocol that exchanges predictions"
        takes_n = self._taking(shard, round, heard_n)
        x_S, _ = shard.batch_loader.samples(self.samples(round))
        order = self.settings.order(len(x_S), round, e.settings.seed)
        order_Kb = torch.as_tensor(order, device=x_S.device)
        given = self.settings.lr
        rate = learning_rate(shard, round) if given is None else float(given)
        for _, rows in e.blocks.slices(shard.blocks):
            if not takes_n[rows].any():
                continue
            at = rows.start + np.flatnonzero(takes_n[rows])
            some: Rows = rows
            if not takes_n[rows].all():
                some = torch.as_tensor(at, device=received_nM.device)
            lr = rate if isinstance(rate, float) else rate[some]
            noise = derive(e.settings.seed, "distillation", int(shard.devices[rows.start]), round)
            own, x_BP = distiller.of(shard.devices[at]), shard.whole(some)
            learnt_BP = own.learn(x_BP, x_S, received_nM[some], order_Kb, lr, noise)
            shard.state.x[some] = shard.keep(some, learnt_BP)

    def _taking(self, shard: Shard, round: int, heard_n: Bools | None) -> Bools:
        """Which devices of a shard take steps, ``[n]``."""
        c, takes_n = self.communication, np.ones(len(shard.devices), bool)
        active_N, learning_n = c.active(round), c.learning_n(shard.devices)
        for each_n in (heard_n, None if active_N is None else active_N[shard.devices], learning_n):
            takes_n &= True if each_n is None else each_n
        return takes_n

    # --- its cost ---------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """M, the number of numbers in a message: C for each answer of each sample."""
        data = self.communication.data
        answers = data.dataset.y[0].size if data.dataset.classes else 1
        return self.settings.count(len(self.public_S)) * data.outputs * answers

    @property
    def predicting_N(self) -> Floats:
        """What each device computes to predict the samples of a message, in local steps,
        ``[N]``."""
        c, samples = self.communication, self.settings.count(len(self.public_S))
        share_N = c.model.prediction_share_of(self._everybody) * np.ones(len(self._everybody))
        return samples * share_N / c.settings.train.batch

    @property
    def distilling_N(self) -> Floats:
        """What each device computes in the steps towards the mean predictions, in local steps,
        ``[N]``."""
        c, (steps, batch) = self.communication, (self.settings.steps, self.settings.batch)
        relative_N = c.model.relative_work_of(self._everybody) * np.ones(len(self._everybody))
        return steps * batch * relative_N / c.settings.train.batch

    @property
    def _everybody(self) -> Ints:
        return np.arange(self.communication.settings.devices)

    @property
    def beside_N(self) -> Floats:
        """See :meth:`Phase.beside_N`."""
        return self.predicting_N + self.distilling_N

    def work(self, round: int) -> Floats:
        """See :meth:`Phase.work`: active devices predict, and those that hear another learn."""
        c = self.communication
        active_N = c.active(round)
        there_N = np.ones(c.settings.devices, bool) if active_N is None else active_N
        learns_N = there_N & self.hearing(round)
        if c.hostile_N is not None and not c.attack.learns:
            learns_N &= c.honest_N
        return there_N * self.predicting_N + learns_N * self.distilling_N

    def bytes_at_work(self, e: Experiment, activations: int) -> int:
        """See :meth:`Phase.bytes_at_work`: the predictions of a block as they become targets, the
        targets of all steps with the outputs, and the parameters before and after."""
        item, block = e.dtype.itemsize, e.blocks.size
        steps, size = self.settings.steps, self.settings.batch
        samples = self.settings.count(len(self.public_S))
        kernel, sample = e.learner.kernel, e.data.dataset.x[:1].size * item
        answers = self.width // samples
        predicted = min(samples, SAMPLES_AT_ONCE)
        together = max(
            kernel.at_once(block, predicted, False) * predicted,
            kernel.at_once(block, size, True) * size,
        )
        numbers = 4 * self.width + 4 * steps * size * answers + 4 * e.model.layout.width
        return (samples + steps * size) * sample + block * numbers * item + together * activations

    def check(self) -> None:
        """See :meth:`Phase.check`."""
        super().check()
        c = self.communication
        if not c.data.dataset.classes:
            if self.settings.send != "logits":
                valid = "must be logits with numeric targets, which have no probabilities"
                raise ConfigError("protocol.send", self.settings.send, valid)
            if self.settings.temperature != 1:
                valid = "must be 1 with numeric targets, which have no softmax"
                raise ConfigError("protocol.temperature", self.settings.temperature, valid)
        if c.settings.share != "all":
            valid = f"must be all with {called(self.protocol)}, whose devices send no parameters"
            raise ConfigError("share", c.settings.share, valid)
        if self.settings.redraws(len(self.public_S)):
            self._require_one_round()

    def _require_one_round(self) -> None:
        """Refuse what goes on with numbers of another round, which are about other samples."""
        c = self.communication
        later = {
            "messages that are under way for several rounds": c.messages.depth > 0,
            "compressor.feedback=true": c.compressor is not None and c.compressor.feedback,
            "an attack that sends rows of earlier rounds": bool(
                c.message_attack and c.message_attack.memory
            ),
            "a rule that remembers": c.aggregator.has_memory,
        }
        for what, there in later.items():
            if there:
                valid = f"must be once with {what}: every round is about other samples"
                raise ConfigError("protocol.draw", self.settings.draw, valid)

    def _made_by_protocol(self) -> int:
        """The predictions, which take the place of the protocol's own rows."""
        return 1
