"""Gradients of pieces of a tensor are written side by side, with the bits of the sums that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from engine.autodiff.reverse import backward
from engine.autodiff.vmap import batched
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.graph.function import Function
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.types import float64
from engine.plan.plan import Plan

OPS = {name: op.function for name, op in REGISTRY.items()}
SHAPE = (3, 6, 2)

Pieces = Callable[[Tensor], Sequence[Tensor]]

JOINED: dict[str, Pieces] = {
    "all that was selected": lambda x: [OPS["select"](x, 1, index) for index in range(6)],
    "in another order, with gaps": lambda x: [OPS["select"](x, 1, index) for index in (4, 1)],
    "of several sizes": lambda x: [OPS["narrow"](x, -2, 3, 3), OPS["narrow"](x, -2, 0, 2)],
}
APART: dict[str, Pieces] = {
    "pieces that meet": lambda x: [OPS["narrow"](x, 1, 0, 3), OPS["narrow"](x, 1, 2, 4)],
    "along different dimensions": lambda x: [OPS["narrow"](x, 1, 0, 3), OPS["narrow"](x, 0, 1, 2)],
    "one piece": lambda x: [OPS["narrow"](x, 1, 0, 3)],
}


def planned(pieces: Pieces, lead: tuple[int, ...] = ()) -> tuple[Plan, dict[tuple[str, str], np.ndarray]]:
    """Return the plan of the gradient of pieces whose cotangents are seeds, and the seeds: some are -0."""
    values = {}
    rng = np.random.default_rng(0)
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, SHAPE, requires_grad=True)
        values["tensors", "x"] = rng.standard_normal(SHAPE)
        roots, mapped = [], {}
        for number, piece in enumerate(pieces(x)):
            seed = leaf(("seeds", str(number)), float64, piece.shape)
            many = leaf(("seeds", str(number)), float64, (*lead, *piece.shape))
            mapped[seed] = many
            values["seeds", str(number)] = rng.choice([-0.0, 0.0, 1.5, np.nan], many.shape)
            roots.append((piece, seed))
        (found,) = backward(roots, [x])
        assert found is not None
        wanted = batched([found], mapped, *lead) if lead else [found]
        return plan(Function.of(wanted)), values


def names(made: Plan) -> list[str]:
    return [node.primitive.name for unit in made.units for node in unit.nodes]


@pytest.mark.parametrize("lead", [(), (4,)])
@pytest.mark.parametrize("name", JOINED)
def test_pieces_that_do_not_meet_are_written_at_once(
    name: str, lead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, values = planned(JOINED[name], lead)
    monkeypatch.setattr("engine.execute.numpy.lowering.REWRITES", ())
    plain, _ = planned(JOINED[name], lead)
    assert names(made).count("_concat_pads") == 1
    assert not {"_pad", "_add"} & set(names(made))
    (found,), (expected,) = Runner(made).run(values), Runner(plain).run(values)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", APART)
def test_other_sums_stay(name: str) -> None:
    made, _ = planned(APART[name])
    assert "_concat_pads" not in names(made)
    assert "_pad" in names(made)


def test_what_is_read_elsewhere_stays_beside_the_sum() -> None:
    with building(Builder(Limits())):
        x, y = (leaf(("tensors", name), float64, (2,)) for name in "xy")
        first, second = OPS["pad"](x, (0, 2)), OPS["pad"](y, (2, 0))
        total = first + second
        wanted = [total, OPS["exp"](total), OPS["exp"](second)]
    made = plan(Function.of(wanted))
    assert sorted(names(made)) == ["_concat_pads", "_pad", "exp", "exp"]
    values = {("tensors", "x"): np.array([1.0, 2.0]), ("tensors", "y"): np.array([3.0, 4.0])}
    joined, grown, other = Runner(made).run(values)
    np.testing.assert_array_equal(joined, [1, 2, 3, 4])
    np.testing.assert_array_equal(grown, np.exp(joined))
    np.testing.assert_array_equal(other, np.exp([0, 0, 3, 4]))
