"""D²: decentralised SGD whose error does not grow with the difference between the devices' data.

Tang, Lian, Yan, Zhang & Liu, *D²: decentralized training over decentralized data*, ICML 2018 (arXiv
1803.07068).
"""

from __future__ import annotations

from torch import Tensor

from swarm.common.errors import ConfigError
from swarm.common.plugin import called
from swarm.communication.mixing import Mixing, is_symmetric, smallest_eigenvalue
from swarm.communication.protocol.base import Links, Protocol, Requirements, Rows, State


class D2(Protocol):
    """X⁺ = W(2X − X⁻ − (D − D⁻)), X¹ = W(X⁰ − D⁰).

    D is how far the local steps lead, start − end: γG for one step of SGD, and there for any number
    of steps and any optimiser. X⁻ and D⁻ only ever occur as X⁻ − D⁻, where those steps ended
    (``ended``). A device that did not learn in a round keeps its state.
    """

    # on base_graph with eigenvalues of 0 and 1 only it diverges
    requirements = Requirements(conserves="both", static_graph=True, no_compression=True)

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"ended": x_NP.clone()}

    def check(self, mixing: Mixing) -> None:
        """λ_min(W) > −1/3, or the recursion λ² = w(2λ − 1) of a mode of W does not shrink.

        Complex w near 1 never do.
        """
        require_symmetric(self, mixing)
        least = smallest_eigenvalue(mixing)
        if not least > -1 / 3 + 1e-9:
            raise ConfigError(
                "protocol",
                "D2",
                f"needs weights whose eigenvalues are all above -1/3, and the least is {least:.4f}"
                " here; use mixing=lazy",
            )

    def after_local_steps(self, state: State, rows: Rows, start_BP: Tensor, end_BP: Tensor) -> None:
        ended = state.slots["ended"]
        state.x[rows] = start_BP + (end_BP - ended[rows])
        ended[rows] = end_BP


def require_symmetric(protocol: Protocol, mixing: Mixing) -> None:
    """Raises :class:`ConfigError` unless W = Wᵀ."""
    if not is_symmetric(mixing):
        name = called(protocol)
        raise ConfigError(
            "protocol",
            name,
            "needs symmetric weights; use an undirected topology and mixing=auto or lazy",
        )
