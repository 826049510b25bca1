"""Columns that share a pass: no two columns of one colour have a nonzero in the same row.

The sum of the columns of a colour then holds each of their elements in a row of its own. Sources: Curtis, Powell and
Reid 1974, "On the estimation of sparse Jacobian matrices"; Coleman and Moré 1983, "Estimation of sparse Jacobian
matrices and graph coloring problems".
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WORDS = 2**26
"""Words of 64 bits that one colouring may look at: about 100 ms."""


def coloured(pattern: Array, most: int) -> Array | None:
    """Return a colour for each column, -1 for one without nonzeros, or None where `most` colours are too few.

    `pattern` is bool, (rows, columns). Columns are taken in turn, each with the first colour that fits; once in their
    order, which is the best there is for a band, and once with those of most nonzeros first.
    """
    least = int(pattern.sum(axis=1).max(initial=0))
    if least > most:
        return None
    members = _bits(pattern.T)
    sizes = pattern.sum(axis=0)
    inside = np.flatnonzero(sizes)
    best: Array | None = None
    for order in (inside, inside[np.argsort(-sizes[inside], kind="stable")]):
        found = _greedy(members, order, most)
        if found is not None:
            best, most = found, int(found.max(initial=-1))  # the next must do with one less
        if most < least:
            break
    return best


def _bits(rows: Array) -> Array:
    """Return the rows of a bool array as words of 64 bits."""
    packed = np.packbits(rows, axis=1)
    width = -(-packed.shape[1] // 8) * 8
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, width - packed.shape[1])))).view(np.uint64)


def _greedy(members: Array, order: Array, most: int) -> Array | None:
    """Return the first colour that fits for each column, or None where `most` colours or the words do not suffice."""
    colours = np.full(len(members), -1)
    covered = np.zeros((most, members.shape[1]), np.uint64)  # by a colour: the rows in which it has a nonzero
    count = words = 0
    for column in order.tolist():
        taken = (covered[:count] & members[column]).any(axis=1)
        words += taken.size * members.shape[1]
        colour = int(taken.argmin()) if not taken.all() else count
        if colour >= most or words > WORDS:
            return None
        covered[colour] |= members[column]
        colours[column] = colour
        count = max(count, colour + 1)
    return colours
