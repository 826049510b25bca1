"""What a plan leaves out gives what it read, bit by bit; what is left gives the same as before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.autodiff.reverse import ancestors
from engine.execute.numpy import Runner
from engine.graph import Builder, Tensor, building
from engine.op import REGISTRY
from engine.operands import leaf
from engine.optimize.identities import simplified
from engine.plan import plan
from engine.program import Limits
from engine.types import float64

OPS = {name: op.function for name, op in REGISTRY.items()}
VALUES = np.array([[np.nan, -0.0, 0.0], [np.inf, -np.inf, 1.5]])

SAME: dict[str, Callable[[Tensor], Tensor]] = {
    "a product by one": lambda x: x * 1.0,
    "one times it": lambda x: 1.0 * x,
    "a quotient by one": lambda x: x / 1.0,
    "minus minus": lambda x: OPS["neg"](-x),
    "a product by ones": lambda x: x * OPS["expand"](OPS["ones"](1, 1), 2, 3),
}


@pytest.mark.parametrize("name", SAME)
def test_what_gives_what_it_reads_is_left_out(name: str) -> None:
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, VALUES.shape)
        same = SAME[name](x)
        wanted = [same, OPS["exp"](same)]
    made = plan(wanted)
    assert [node.primitive.name for step in made.steps for node in step.nodes][-1:] == ["exp"]
    found = Runner(made).run({("tensors", "x"): VALUES})
    np.testing.assert_array_equal(np.signbit(found[0]), np.signbit(VALUES))
    np.testing.assert_array_equal(found[0], VALUES)


def test_what_becomes_larger_or_changes_stays() -> None:
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, (3,))
        wanted = [x * OPS["ones"](2, 1), x + 0.0, x * -1.0]
    _, same = simplified(ancestors(wanted), wanted)
    assert all(tensor is before for tensor, before in zip(same, wanted, strict=True))


def test_equals_are_merged_also_with_operands_exchanged() -> None:
    with building(Builder(Limits())):
        x, y = (leaf(("tensors", name), float64, (3,)) for name in "xy")
        wanted = [x * y, y * (x * 1.0), x - y, y - x]
    _, (product, exchanged, difference, opposite) = simplified(ancestors(wanted), wanted)
    assert product is exchanged
    assert difference is not opposite
