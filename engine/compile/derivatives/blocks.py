"""Plans that compute blocks of Jacobians by column or by row. The modules `jacobian` and `hessian` call it."""

from __future__ import annotations

from collections.abc import Sequence

from engine.autodiff.forward import jvp
from engine.autodiff.reverse import backward
from engine.autodiff.sparsity.mode import Mode
from engine.compile.compiled import Block, Place
from engine.compile.derivation import Derivation
from engine.graph.graph import Tensor
from engine.graph.types import numel


def check_blocks(derivation: Derivation, outputs: Sequence[str], inputs: Sequence[str]) -> None:
    """Report blocks of a Jacobian with too many elements, and reserve memory for all blocks and their assembly."""
    lookup, limit = derivation.lookup, derivation.limits.elements
    for output in outputs:
        for wrt in inputs:
            shape = derivation.vmap.lead + lookup.tensor(output).shape + lookup.tensor(wrt).shape
            derivation.reserve(2 * numel(shape) * lookup.tensor(wrt).dtype.itemsize)
            if numel(shape) > limit:
                lookup.fault(
                    ("graph",),
                    "elements_limit",
                    f"the derivative of {output!r} by {wrt!r} has shape {list(shape)}, "
                    f"{numel(shape)} elements, over the limit of {limit}",
                    "Name fewer outputs or wrt, or ask for products (jvp, hvp, gradients) instead.",
                )


def add_columns(
    derivation: Derivation, outputs: list[Tensor], wrt: Tensor, places: Sequence[Place], plan: Mode
) -> None:
    """Add the plan that computes the derivatives of outputs by one input: one column for each input direction."""
    direction = derivation.symbolic_direction(wrt)
    found = jvp(outputs, {wrt: direction})
    blocks = []
    for place, output, tangent in zip(places, outputs, found, strict=True):
        if tangent is None:
            derivation.zero(place, output.shape + wrt.shape, output.dtype)
        else:
            blocks.append((Block(place, "columns", output.shape, wrt.shape, plan.pattern(output, wrt)), tangent))
    derivation.jacobian_blocks(direction, blocks, plan.colours(wrt))


def add_rows(derivation: Derivation, output: Tensor, inputs: list[Tensor], places: Sequence[Place], plan: Mode) -> None:
    """Add the plan that computes the derivatives of one output by inputs: one row for each output direction."""
    direction = derivation.symbolic_direction(output)
    found = backward([(output, direction)], inputs)
    blocks = []
    for place, wrt, cotangent in zip(places, inputs, found, strict=True):
        if cotangent is None:
            derivation.zero(place, output.shape + wrt.shape, output.dtype)
        else:
            blocks.append((Block(place, "rows", output.shape, wrt.shape, plan.pattern(output, wrt)), cotangent))
    derivation.jacobian_blocks(direction, blocks, plan.colours(output))
