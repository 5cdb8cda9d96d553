"""Draws the links of random graphs straight as arrays ``[E, 2]``, without an object for a device or
a link.

Every function is pure in its arguments and the state of ``rng``. No link is drawn twice, and none
leads from a device to itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swarm.communication.topology.graph import Ints

Bools = npt.NDArray[np.bool_]
Table = npt.NDArray[np.int32] | None  # by the code of a pair
BATCHES = 32  # parts in which the links of a small world are moved, one after the other
TRIES = 100  # draws of a new place for a link, before it stays where it is
HEAD = 1000  # devices that attach themselves one after the other, before the others do so together
DENSE = 4  # with a link to every so many-th device, a table of all pairs is quicker than sorting
NOTHING: Ints = np.empty((0, 2), np.int64)


def independent_links(n: int, p: float, rng: np.random.Generator) -> Ints:
    """Link every pair of n devices with probability ``p``, independently of all other pairs.

    The pairs are numbered, and the gaps between the numbers of those that are linked are geometric
    (Batagelj & Brandes, *Efficient generation of large random networks*, 2005).
    """
    pairs = n * (n - 1) // 2
    if p <= 0.0 or not pairs:
        return NOTHING
    expected = p * pairs
    parts, last = [], -1
    while last < pairs:
        number_K = last + np.cumsum(rng.geometric(p, int(expected + 6 * expected**0.5 + 10)))
        parts.append(number_K[number_K < pairs])
        last = int(number_K[-1])
    return _pair(np.concatenate(parts))


def _pair(number_E: Ints) -> Ints:
    """The pairs i < j with the numbers j (j − 1) / 2 + i, ``[E, 2]``."""
    upper_E = ((1.0 + np.sqrt(1.0 + 8.0 * number_E)) / 2.0).astype(np.int64)
    # the root is rounded, by which it may be one off
    upper_E -= upper_E * (upper_E - 1) // 2 > number_E
    upper_E += upper_E * (upper_E + 1) // 2 <= number_E
    return np.stack([number_E - upper_E * (upper_E - 1) // 2, upper_E], axis=1)


def rewired_ring(n: int, k: int, p: float, rng: np.random.Generator) -> Ints:
    """Link each device to its ``k`` nearest on a ring, and move the far end of each link to a
    random device with probability ``p``.

    As Watts and Strogatz do, a link goes to a device that its near end is not linked to at that
    time. They move one link after the other, ordered by the length of links. Here they are moved in
    ``BATCHES`` parts in the same order, so that in a small graph a part is a single link. A link
    that finds no place in ``TRIES`` draws stays where it was, as where a device is linked to all.
    """
    half = k // 2
    near_L = np.tile(np.arange(n), half)  # link number (h − 1) · n + i leads from i to i + h
    far_L = (near_L + np.repeat(np.arange(1, half + 1), n)) % n
    in_place_L = np.ones(n * half, bool)
    taken = np.empty(0, np.int64)  # sorted codes of the new places
    for batch in np.array_split(np.flatnonzero(rng.random(n * half) < p), BATCHES):
        wanting = batch
        for _ in range(TRIES if len(batch) else 0):
            near, far = near_L[wanting], rng.integers(0, n, len(wanting))
            free = ~_on_ring(n, half, near, far, in_place_L)
            code = _code(n, near, far)
            free[_repeated(code) | _among(taken, code)] = False
            far_L[wanting[free]] = far[free]
            taken = np.sort(np.concatenate([taken, code[free]]))
            wanting = wanting[~free]
            if not len(wanting):
                break
        in_place_L[np.setdiff1d(batch, wanting, assume_unique=True)] = False
    return np.stack([near_L, far_L], axis=1)


def _on_ring(n: int, half: int, a: Ints, b: Ints, in_place_L: Bools) -> Bools:
    """Whether a and b are one device, or linked by a link of the ring that is in its place."""
    ahead = (b - a) % n
    apart = np.minimum(ahead, n - ahead)
    link = (apart - 1) * n + np.where(apart == ahead, a, b)
    near = (apart > 0) & (apart <= half)
    found: Bools = (apart == 0) | (near & in_place_L[np.where(near, link, 0)])
    return found


def preferential_links(n: int, m: int, rng: np.random.Generator) -> Ints:
    """Attach devices m + 1, m + 2, … to ``m`` different earlier ones each, which are chosen with a
    probability proportional to their degree; devices 0 to m begin as a star around device 0.

    The first devices choose one after the other. All others choose together: each picks a random
    end of a random earlier link, which is either the device that made that link, or the device that
    *that* one had picked (Batagelj & Brandes 2005). A choice that repeats another one of its device
    is made again.
    """
    head = min(n, max(HEAD, 20 * m))
    target_E = _attached_in_turn(head, m, rng)
    if n > head:
        target_E = _attached_together(n, m, target_E, rng)
    return np.stack([_maker(np.arange(len(target_E)), m), target_E], axis=1)


def _maker(link: Ints, m: int) -> Ints:
    """The device that made each link: 0 made the first ``m``, the star."""
    return np.where(link < m, 0, link // m + m)


def _attached_in_turn(n: int, m: int, rng: np.random.Generator) -> Ints:
    """The device that each link of the first ``n`` devices leads to.

    The ``m`` smallest of exponential variates with the degrees as their rates are a draw without
    replacement, in which each next device is drawn by its degree.
    """
    degree_N = np.zeros(n)
    degree_N[0], degree_N[1 : m + 1] = m, 1
    found = [np.arange(1, m + 1)]
    for device in range(m + 1, n):
        wait = rng.standard_exponential(device) / degree_N[:device]
        found.append(np.argpartition(wait, m - 1)[:m])
        degree_N[found[-1]] += 1
        degree_N[device] = m
    return np.concatenate(found)


def _attached_together(n: int, m: int, head_E: Ints, rng: np.random.Generator) -> Ints:
    """The device that each link of ``n`` devices leads to, where those of the first links are
    known."""
    known, links = len(head_E), m * (n - m)
    row_R = np.arange(known // m, links // m)  # a row for each device that chooses
    ends_R1 = 2 * m * row_R[:, None]  # so many ends do earlier links have
    picked_Rm = rng.integers(0, ends_R1, (len(row_R), m))
    target_E = np.concatenate([head_E, np.empty(links - known, np.int64)])
    while True:
        target_E[known:] = _followed(picked_Rm.ravel(), m, head_E)
        again_Rm = _repeats_in_row(target_E[known:].reshape(-1, m))
        if not again_Rm.any():
            return target_E
        picked_Rm[again_Rm] = rng.integers(0, np.broadcast_to(ends_R1, again_Rm.shape)[again_Rm])


def _followed(picked_K: Ints, m: int, head_E: Ints) -> Ints:
    """The device at the end of a link that each link number ``len(head_E)``, … has picked; end 2e
    is the maker of link e, and end 2e + 1 the device that it leads to."""
    known, (link_K, side_K) = len(head_E), np.divmod(picked_K, 2)
    open_K = (side_K == 1) & (link_K >= known)  # it leads to what another of these links has picked
    next_K = np.where(open_K, link_K - known, np.arange(len(picked_K)))
    while not np.array_equal(further_K := next_K[next_K], next_K):
        next_K = further_K
    link_K, side_K = link_K[next_K], side_K[next_K]
    return np.where(side_K == 0, _maker(link_K, m), head_E[np.minimum(link_K, known - 1)])


def _repeats_in_row(value_Rm: Ints) -> Bools:
    """Which values have occurred in their row before, ``[R, m]``."""
    order_Rm = np.argsort(value_Rm, axis=1, kind="stable")
    sorted_Rm = np.take_along_axis(value_Rm, order_Rm, 1)
    again_Rm = np.zeros(value_Rm.shape, bool)
    same_Rm = np.diff(sorted_Rm, axis=1, prepend=-1) == 0
    np.put_along_axis(again_Rm, order_Rm, same_Rm, 1)
    return again_Rm


def regular_links(n: int, degree: int, rng: np.random.Generator) -> Ints:
    """Give each of n devices exactly ``degree`` links, otherwise at random; n · degree is even.

    The ends of all links are paired at random. A pair of one device with itself, or of two devices
    that are paired already, then exchanges an end with a random other pair, until there is none
    (McKay & Wormald, *Uniform generation of random regular graphs of moderate degree*, 1990). A
    graph with more than half of all links is drawn as those that it lacks.
    """
    if 2 * degree > n - 1:
        missing_E2, upper = regular_links(n, n - 1 - degree, rng), np.triu_indices(n, 1)
        lacks = np.zeros((n, n), bool)
        lacks[missing_E2.min(1), missing_E2.max(1)] = True
        return np.stack(upper, axis=1)[~lacks[upper]]
    first_C = np.zeros(n * n, np.int32) if n <= DENSE * degree else None
    while True:
        ends_E2 = rng.permutation(np.repeat(np.arange(n), degree)).reshape(-1, 2)
        for _ in range(TRIES):
            code = _code(n, ends_E2[:, 0], ends_E2[:, 1])
            bad_E = _repeated(code, first_C) | (ends_E2[:, 0] == ends_E2[:, 1])
            if not bad_E.any():
                return ends_E2
            _exchange(n, ends_E2, code, bad_E, rng, first_C)


def _exchange(
    n: int, ends_E2: Ints, code: Ints, bad_E: Bools, rng: np.random.Generator, first_C: Table
) -> None:
    """Let the pairs ``bad_E`` a-b exchange an end with random others c-d, in place: a-c and
    b-d."""
    bad, good = np.flatnonzero(bad_E), np.flatnonzero(~bad_E)
    if not len(good):
        return
    other, at = np.unique(rng.choice(good, len(bad)), return_index=True)
    bad = bad[at]
    (a, b), (c, d) = ends_E2[bad].T, ends_E2[other].T
    pair_2 = np.concatenate([_code(n, a, c), _code(n, b, d)])
    if first_C is None:
        wrong_2 = _repeated(pair_2) | _among(np.sort(code), pair_2)
    else:
        wrong_2 = _repeated(pair_2) | (code[first_C[pair_2]] == pair_2)
    wrong_2 |= np.concatenate([a == c, b == d])
    fits = ~wrong_2.reshape(2, -1).any(0)
    ends_E2[bad[fits]] = np.stack([a, c], axis=1)[fits]
    ends_E2[other[fits]] = np.stack([b, d], axis=1)[fits]


def _code(n: int, a: Ints, b: Ints) -> Ints:
    """One number for each pair of devices, whichever is named first."""
    return np.maximum(a, b) * n + np.minimum(a, b)


def _repeated(code: Ints, first_C: Table = None) -> Bools:
    """Which of the codes have occurred before.

    Where there is a table with a place for each possible code, it gets the position at which each
    code occurs first, which is quicker than to sort them.
    """
    if first_C is not None:
        position = np.arange(len(code), dtype=first_C.dtype)
        first_C[code[::-1]] = position[::-1]  # of equal codes, the first is written last
        found: Bools = first_C[code] != position
        return found
    order = np.argsort(code, kind="stable")
    again = np.empty(len(code), bool)
    again[order] = np.diff(code[order], prepend=-1) == 0
    return again


def _among(sorted_codes: Ints, code: Ints) -> Bools:
    """Which of the codes are among the sorted ones."""
    if not len(sorted_codes):
        return np.zeros(len(code), bool)
    at = np.minimum(np.searchsorted(sorted_codes, code), len(sorted_codes) - 1)
    found: Bools = sorted_codes[at] == code
    return found
