"""The interface of pre-aggregators, which mix the rows of a device before a robust rule combines
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from swarm.common.plugin import called
from swarm.communication.aggregation.base import Aggregator, uses_weights
from swarm.communication.aggregation.robust import RobustRule
from swarm.communication.aggregation.stack import Stack, devices_at_once
from swarm.communication.topology.graph import Graph


class PreAggregator(ABC):
    """A function that replaces the n rows of each device by n′ mixtures of them.

    Pre-aggregators are applied in the order of ``pre_aggregators=[…]``, and the aggregation rule
    after them. Honest rows become more alike by it, which a rule bears better.

    Attributes:
        by_number: Whether it mixes every number by itself, so that the rows that it is given may be
            of some numbers only.
    """

    by_number: bool = False

    @property
    def title(self) -> str:
        """What a message calls it, with the option that decides how many mixtures it makes."""
        return called(self)

    def rows(self, rows: int) -> int:
        """Return n′, the number of mixtures of ``rows`` rows."""
        return rows

    def held_numbers(self, rows: int, width: int) -> float:
        """Return the most numbers that it holds at once beside the given rows, where a device has
        ``rows`` rows of ``width`` numbers; here the mixtures, and as many while they are made.
        """
        return 2.0 * rows * width * devices_at_once(rows, width)

    @abstractmethod
    def __call__(self, stack: Stack) -> Stack:
        """Return the mixtures, of which at most ``stack.f`` are hostile; the given rows must not be
        changed. A device's mixtures must depend on its own rows only, to the bit.
        """


class PreAggregated(RobustRule):
    """A robust rule with pre-aggregators in front of it."""

    def __init__(self, before: Sequence[PreAggregator], rule: RobustRule) -> None:
        """Put ``before`` in front of ``rule``, which :func:`refusal` must allow."""
        super().__init__(rule.f, rule.unsafe)
        self.before, self.rule = tuple(before), rule
        self.symmetric, self.weighs = rule.symmetric, uses_weights(rule)
        if all(each.by_number for each in before):
            self.partial_rows = rule.partial_rows

    def most(self, rows: int) -> int:
        """See :meth:`RobustRule.most`: what the rule bears among the mixtures."""
        return self.rule.most(self._left(rows))

    def check(self, graph: Graph) -> None:
        """See :meth:`Aggregator.check`."""
        super().check(graph)
        self.rule.check(graph)

    def check_rows(self, rows: int, who: str) -> None:
        """See :meth:`RobustRule.check_rows`: what the rule can work with among the mixtures."""
        self.rule.check_rows(self._left(rows), who)

    def mixtures(self, rows: int) -> str:
        """See :meth:`RobustRule.mixtures`: how many are left, and by which pre-aggregators."""
        left = self._left(rows)
        fewer = [each.title for each in self.before if each.rows(rows) != rows]
        return f", of which {' and '.join(fewer)} makes {left}" if left != rows else ""

    def _left(self, rows: int) -> int:
        for each in self.before:
            rows = each.rows(rows)
        return rows

    def combine_stack(self, stack: Stack) -> Tensor:
        """See :meth:`StackRule.combine_stack`."""
        for each in self.before:
            stack = each(stack)
        return self.rule.combine_stack(stack)

    def held_numbers(self, rows: int, width: int) -> float:
        """See :meth:`Aggregator.held_numbers`: the rows as they came, beside what each mixes or
        combines."""
        given = float(rows * width * devices_at_once(rows, width))
        most = 0.0
        for each in self.before:
            most = max(most, each.held_numbers(rows, width))
            rows = each.rows(rows)
        return given + max(most, self.rule.held_numbers(rows, width))


def refusal(rule: Aggregator) -> str | None:
    """Return why no pre-aggregator goes with ``rule``, as the end of a sentence; None if one
    does."""
    if not isinstance(rule, RobustRule):
        return f"must be [] with {called(rule)}, which assumes no number of hostile neighbours"
    if rule.own_validation:
        return f"must be [] with {called(rule)}, which measures the models of its neighbours"
    if not rule.f:
        return (
            f"must be [] with {called(rule)} and aggregator.f=0, as they make room for f hostile"
            " neighbours; aggregator.f=1 would do"
        )
    return None
