"""Colouring of a Jacobian's columns: no two columns of one colour have a nonzero in the same row.

The sum of the columns of one colour then has at most one of their nonzeros in each row. One direction computes it.
`engine.autodiff.sparsity.mode` calls `coloured`.

Sources: Curtis, Powell and Reid 1974, "On the estimation of sparse Jacobian matrices"; Coleman and Moré 1983,
"Estimation of sparse Jacobian matrices and graph coloring problems".
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WORDS = 2**26
"""The maximum number of 64-bit words that one colouring reads: about 100 ms."""


def coloured(pattern: Array, most: int) -> Array | None:
    """Return a colour for each column (-1 for a column of zeros), or None if `most` colours are too few.

    `pattern` is bool, (rows, columns). A greedy search gives each column the first colour that fits. It runs twice: in
    the order of the columns, which is optimal for a band, and by the number of nonzeros, descending.
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
            best, most = found, int(found.max(initial=-1))  # the next search must use fewer colours
        if most < least:
            break
    return best


def _bits(rows: Array) -> Array:
    """Return the rows of a bool array as words of 64 bits."""
    packed = np.packbits(rows, axis=1)
    width = -(-packed.shape[1] // 8) * 8
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, width - packed.shape[1])))).view(np.uint64)


def _greedy(members: Array, order: Array, most: int) -> Array | None:
    """Return the first colour that fits for each column, or None if `most` colours or WORDS are exceeded."""
    colours = np.full(len(members), -1)
    covered = np.zeros((most, members.shape[1]), np.uint64)  # for each colour: the rows in which it has a nonzero
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
