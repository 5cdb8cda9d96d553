"""D²: decentralised SGD whose error does not depend on how much the devices' data differ.

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
    """D²: X⁺ = W(2X − X⁻ − (D − D⁻)), X¹ = W(X⁰ − D⁰).

    D is start − end of the local steps: γG for one step of SGD, but it is defined for any number of
    steps and any optimiser. X⁻ and D⁻ only occur as X⁻ − D⁻, the rows after the local steps of the
    round before (``ended``). A device that did not learn in a round keeps its state.
    """

    # static_graph: D² diverges on base_graph, although its eigenvalues are only 0 and 1
    requirements = Requirements(conserves="both", static_graph=True, no_compression=True)

    def init(self, x_NP: Tensor, links: Links | None) -> dict[str, Tensor]:
        return {"ended": x_NP.clone()}

    def check(self, mixing: Mixing) -> None:
        """Refuse W unless it is symmetric with λ_min > −1/3, with a :class:`ConfigError`.

        Otherwise the recursion λ² = w(2λ − 1) of some eigenvalue w of W does not decay; for complex
        w near 1 it never does.
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
    """Refuse mixing weights unless W = Wᵀ, with a :class:`ConfigError`."""
    if not is_symmetric(mixing):
        name = called(protocol)
        raise ConfigError(
            "protocol",
            name,
            "needs symmetric weights; use an undirected topology and mixing=lazy",
        )
