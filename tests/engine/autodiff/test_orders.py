"""What derivatives of higher order cost: nodes for each op of a chain, as the order of the derivative grows.

Merging what orders share is what keeps this low: without it, every order would make each op's nodes anew for every
place in which the order before it uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from engine.graph.function import ancestors
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.promotion import leaf
from engine.graph.types import float64
from tests.engine.compile.test_derivatives import OPS, forward, reverse

LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": OPS["sin"],
    "exp": lambda x: OPS["exp"](x * 0.1),
    "tanh of a sine": lambda x: OPS["tanh"](OPS["sin"](x) * 1.5),
    "a polynomial": lambda x: OPS["square"](x) + x,
}


def nodes(layer: Callable[[Tensor], Tensor], length: int, modes: str) -> int:
    """Return the nodes of a derivative of a chain: of one order for each letter, (r)everse or (f)orward."""
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, (3,), requires_grad=True)
        y = x
        for _ in range(length):
            y = layer(y)
        for mode in modes:
            y = (reverse if mode == "r" else forward)(y, x)
        return len(ancestors([y]))


def of_each_layer(name: str, modes: str) -> int:
    """Return how many nodes one more layer takes."""
    five, ten = (nodes(LAYERS[name], length, modes) for length in (5, 10))
    return (ten - five) // 5


@pytest.mark.parametrize("modes", ["r", "rr", "rrr", "rrrr", "fff", "ffff", "rfff", "frf"])
@pytest.mark.parametrize("name", LAYERS)
def test_nodes_of_every_order_grow_with_the_length_of_the_chain(name: str, modes: str) -> None:
    counts = [nodes(LAYERS[name], length, modes) for length in (5, 10, 20)]
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])


@pytest.mark.parametrize("first", ["f", "r"])
@pytest.mark.parametrize("name", LAYERS)
def test_nodes_grow_as_the_cube_of_the_order(name: str, first: str) -> None:
    """Forward mode over forward or over reverse mode: a cubic polynomial's fourth differences are 0."""
    counts = [of_each_layer(name, first + "f" * more) for more in range(8)]
    assert not np.diff(counts, 4)[1:].any()


@pytest.mark.parametrize("name", LAYERS)
def test_reverse_mode_over_itself_costs_what_a_gradient_costs_each_time(name: str) -> None:
    """A gradient takes a few times the nodes of its function: what is nested multiplies, by less than 4 an order."""
    counts = [of_each_layer(name, "r" * order) for order in range(1, 7)]
    assert all(after < 4 * before for before, after in pairwise(counts))
