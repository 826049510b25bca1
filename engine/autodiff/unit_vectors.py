"""Batching over unit vectors, for the passes of Jacobians. `engine.compile.derivation` calls it.

The product of a matrix and a unit vector is a column, and the product with all unit vectors is the matrix itself: no
product is computed, and there is no NaN from a zero times an infinite element. Elementwise nodes before the product
scale the columns by factors. If the matrix is row-major in memory, its columns are directions on the last axis.
The directions stay on the last axis through elementwise nodes and products, which read memory in its order. For all
other nodes the axis of directions moves to the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.autodiff.vmap import lifted, with_axis
from engine.graph.elementwise import is_one
from engine.graph.function import ancestors
from engine.graph.graph import Node, Tensor, builder
from engine.graph.promotion import constant
from engine.graph.types import Shape
from engine.ops.indexing.gather import taken
from engine.ops.linalg.matmul import PRODUCT
from engine.ops.shape.movement import PERMUTE, expanded, is_matrix_transpose, permuted, reshaped, turned

FEWEST = 16
"""The minimum number of directions for the last axis: NumPy's inner loops run over it, and short loops are slow."""


class Directions:
    """The tensors that depend on a direction, each with an axis of directions: the first or the last axis.

    `vectors`, of shape (directions, *direction.shape), replaces the direction. With `units`, they are the unit vectors
    of all elements of the direction, or of the elements with indices `numbers`, of shape (directions). Without `units`,
    they are arbitrary vectors.
    """

    def __init__(
        self, direction: Tensor, vectors: Tensor, *, units: bool = False, numbers: Tensor | None = None
    ) -> None:
        self._size = vectors.shape[0]
        self._first = {direction: vectors}
        self._last: dict[Tensor, Tensor] = {}
        self._factors = {direction: expanded(constant(1, direction.dtype), direction.shape)} if units else {}
        self._numbers = numbers

    def add(self, outputs: Sequence[Tensor]) -> None:
        """Add the nodes that compute the outputs for every direction."""
        active = builder()
        origin = active.origin
        try:
            for node in ancestors(outputs):
                if any(map(self._moves, node.inputs)):
                    active.origin = node.origin
                    self._add(node)
        finally:
            active.origin = origin

    def first(self, tensor: Tensor) -> Tensor:
        """Return a tensor with the axis of directions first."""
        if tensor not in self._first and tensor not in self._last:
            return lifted(tensor, self._size)
        if tensor not in self._first:
            last = self._last[tensor]
            self._first[tensor] = permuted(last, (-1, *range(-last.ndim, -1)))
        return self._first[tensor]

    def last(self, tensor: Tensor) -> Tensor:
        """Return a tensor with the axis of directions last."""
        if tensor not in self._last:
            first = self.first(tensor)
            return permuted(first, (*range(1 - first.ndim, 0), -first.ndim))
        return self._last[tensor]

    def _moves(self, tensor: Tensor) -> bool:
        return tensor in self._first or tensor in self._last

    def _add(self, node: Node) -> None:
        result = node.outputs[0]
        if any(tensor in self._factors for tensor in node.inputs):
            self._scale(node)
        if node.primitive is PRODUCT and self._replace_product(node):
            return
        if any(tensor in self._last for tensor in node.inputs):
            made = self._with_axis_last(node)
            if made is not None:
                self._last[result] = made
                return
        known = {tensor: self.first(tensor) for tensor in node.inputs if self._moves(tensor)}
        self._first.update(zip(node.outputs, with_axis(node, known, self._size), strict=True))

    # Products with unit vectors

    def _scale(self, node: Node) -> None:
        """Record the factors if a node scales unit vectors: it is linear in each element."""
        primitive, result = node.primitive, node.outputs[0]
        known = {tensor: self._factors.get(tensor) for tensor in node.inputs if self._moves(tensor)}
        apart = primitive.kind == "elementwise" or primitive.pointwise
        if apart and all(factors is not None and factors.numel == result.numel for factors in known.values()):
            self._factors[result] = primitive(*[known.get(tensor) or tensor for tensor in node.inputs], **node.params)

    def _replace_product(self, node: Node) -> bool:
        """Replace a product with unit vectors by the columns or rows of the matrix. Return False for other nodes."""
        input, other = node.inputs
        if other in self._factors and other.numel == other.shape[-2] and not self._moves(input):
            self._pick(node.outputs[0], input, self._factors[other])
        elif input in self._factors and input.numel == input.shape[-1] and not self._moves(other):
            self._pick(node.outputs[0], turned(other), self._factors[input])
        else:
            return False
        return True

    def _pick(self, result: Tensor, columns: Tensor, factors: Tensor) -> None:
        """Set a result, of shape (*batch, n) or more, to the columns of (*batch, n, directions) times factors.

        The axis of directions follows the memory order of the matrix.
        """
        rows = turned(columns) if columns.ndim == 2 else None
        if rows is not None and (self._size < FEWEST or is_matrix_transpose(columns)):
            vectors = reshaped(self._chosen(rows, -2), (self._size, *result.shape))
            self._first[result] = self._times(vectors, factors, (self._size, *(1,) * result.ndim))
        else:
            vectors = reshaped(self._chosen(columns, -1), (*result.shape, self._size))
            self._last[result] = self._times(vectors, factors, (self._size,))

    def _times(self, vectors: Tensor, factors: Tensor, shape: Shape) -> Tensor:
        """Return each vector times its factor. `shape` is the shape of the factors that broadcasts with the vectors."""
        if is_one(factors):
            return vectors
        return vectors * reshaped(self._chosen(reshaped(factors, (factors.numel,)), -1), shape)

    def _chosen(self, vectors: Tensor, dim: int) -> Tensor:
        return vectors if self._numbers is None else taken(vectors, self._numbers, dim)

    # Nodes with the axis of directions last

    def _with_axis_last(self, node: Node) -> Tensor | None:
        """Return the result with the axis of directions last, or None if the node needs it first."""
        if node.primitive is PRODUCT:
            return self._product(node)
        params = _params_with_axis_last(node, self._size)
        if params is None or any(self._moves(tensor) and tensor not in self._last for tensor in node.inputs):
            return None
        made: Tensor = node.primitive(*map(self._aligned, node.inputs), **params)
        return made

    def _aligned(self, tensor: Tensor) -> Tensor:
        """Return an operand that broadcasts with operands with the axis of directions last."""
        if tensor in self._last or not tensor.shape:
            return self._last.get(tensor, tensor)
        return reshaped(tensor, (*tensor.shape, 1))

    def _product(self, node: Node) -> Tensor | None:
        """Return a matrix product for all directions: one product with the directions as additional columns."""
        input, other = node.inputs
        if not self._moves(input):
            *batch, rows, columns, size = self._last[other].shape
            found = PRODUCT(input, reshaped(self._last[other], (*batch, rows, columns * size)))
        elif input.shape[-2] == 1 and input in self._last and not self._moves(other):
            *batch, _, columns, size = self._last[input].shape
            found = PRODUCT(turned(other), reshaped(self._last[input], (*batch, columns, size)))
        else:
            return None
        return reshaped(found, (*node.outputs[0].shape, self._size))


def _params_with_axis_last(node: Node, size: int) -> Mapping[str, Any] | None:
    """Return the parameters of a node for `size` directions on the last axis, or None if it needs them first."""
    primitive, params = node.primitive, node.params
    if primitive is PERMUTE:
        return {"dims": (*[dim - 1 for dim in params["dims"]], -1)}
    if primitive.sums:
        return {**params, "dims": tuple([dim - 1 for dim in params["dims"]])}
    if primitive.kind == "elementwise" or primitive.pointwise or primitive.broadcasts:
        return {**params, "shape": (*params["shape"], size)} if "shape" in params else params
    return None
