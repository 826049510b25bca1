"""The elementwise primitive: the only kind that promotes, converts and broadcasts its operands.

`engine.graph.op` makes these primitives for `engine.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from engine.graph.graph import NO_PARAMS, Tensor, builder
from engine.graph.kernel import Kernel
from engine.graph.primitive import Declared, Primitive
from engine.graph.promotion import CONSTANT, KEEPING, Promotion, as_tensor, constant
from engine.graph.traits import arrays, broadcast, in_place, per_result
from engine.graph.types import DType, Number, Shape, broadcast_shapes

Shortcut = Callable[..., Tensor | None]
"""Function from a node's inputs to a tensor equal to its result, or None."""


OPERATIONS: Mapping[np.ufunc, int] = {
    **dict.fromkeys((np.add, np.subtract, np.multiply, np.negative, np.absolute, np.square), 1),
    **dict.fromkeys((np.maximum, np.minimum, np.logical_and, np.logical_or, np.logical_not), 1),
    **dict.fromkeys((np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal), 1),
    **dict.fromkeys((np.divide, np.reciprocal, np.sqrt), 4),
    **dict.fromkeys((np.exp, np.expm1, np.log, np.log1p, np.sin, np.cos, np.tanh), 10),
    np.arcsinh: 20,
    np.floor_divide: 60,
}
"""Number of operations of a ufunc per element of its result."""


class Elementwise(Primitive):
    """A primitive whose output elements depend on one element of each broadcast input.

    It promotes and converts its operands. Numbers become constants. `ufunc` receives arrays that broadcast.
    """

    kind = "elementwise"

    def __init__(
        self,
        function: Callable[..., Any],
        ufunc: Kernel,
        promotion: Promotion,
        weight: int | None = None,
        spare: int | None = None,
        **declared: Unpack[Declared],
    ) -> None:
        """Make a primitive with `weight` operations per element and `spare` temporary arrays.

        The weight of a plain ufunc is in `OPERATIONS`. A plain ufunc needs no temporary arrays.
        """
        super().__init__(function, **declared)
        self.run = ufunc
        if isinstance(ufunc, np.ufunc):
            weight, self.memory = OPERATIONS.get(ufunc) if weight is None else weight, in_place
        elif spare is not None:
            self.memory = arrays(spare)
        if weight is not None:
            self.cost = per_result(weight)
            self.effort = broadcast(weight) if self.effort is None else self.effort
        self.promotion = promotion
        self.commutes = ufunc in (np.add, np.multiply)
        self.short: Shortcut | None = None
        self._keeps = promotion in KEEPING

    def __call__(self, *operands: Tensor | Number, **params: Any) -> Tensor:
        """Promote the operands, add the node and return its result, or an existing tensor equal to the result."""
        inputs, result = self._promoted(operands)
        if not self.params:
            params = NO_PARAMS
        elif tuple(params) != self.params:
            params = {name: params[name] for name in self.params}
        shape = inputs[0].shape
        if len(inputs) > 1:
            inputs, shape = _broadcast(inputs, shape)
        if not shape and all(tensor.node.primitive is CONSTANT for tensor in inputs):
            return self._folded(inputs, params, result)
        if self.short is not None:
            same = self.short(*inputs)
            if same is not None and same.shape == shape:
                return same
        return builder().apply(self, inputs, params, ((result, shape),)).outputs[0]

    def types(
        self,
        inputs: tuple[Tensor, ...],
        params: Mapping[str, Any],  # noqa: ARG002  # the type does not depend on parameters
    ) -> tuple[tuple[DType, Shape], ...]:
        """Return the dtype and shape of the result of a node on these promoted inputs."""
        _, result = self.promotion(inputs)
        return ((result, broadcast_shapes([tensor.shape for tensor in inputs])),)

    def shortcut(self, function: Shortcut) -> Shortcut:
        """Register a simplification: a function that returns an existing tensor equal to the result, or None.

        The tensor must be equal for all values, NaN and signed zeros included. If it also has the shape of the result,
        no node is made. Example: the gradient of a loss starts with ones, so the first products of its rules are
        products with one. The function may also return the result of another node that is cheaper to run.
        """
        self.short = function
        return function

    def _promoted(self, operands: tuple[Tensor | Number, ...]) -> tuple[tuple[Tensor, ...], DType]:
        """Return the operands as tensors of their promoted dtypes, and the dtype of the result."""
        kept = _kept(operands) if self._keeps else None
        if kept is not None:
            return kept, kept[0].dtype
        wanted, result = self.promotion(operands)
        inputs = [
            operand if type(operand) is Tensor and operand.dtype is dtype else as_tensor(operand, dtype)
            for operand, dtype in zip(operands, wanted, strict=True)
        ]
        return tuple(inputs), result

    def _folded(self, inputs: Sequence[Tensor], params: Mapping[str, Any], result: DType) -> Tensor:
        """Return the result on constant inputs as a constant."""
        with np.errstate(all="ignore"):
            value = self.bind(params)(*[CONSTANT.bind(tensor.node.params)() for tensor in inputs])
        return constant(value.item(), result)


def _kept(operands: tuple[Tensor | Number, ...]) -> tuple[Tensor, ...] | None:
    """Return the operands as tensors if all tensors have one differentiable dtype, or None.

    Real numbers become constants of this dtype. The promotion handles all other operands, such as integer tensors.
    """
    dtype: DType | None = None
    numbers = False
    for operand in operands:
        if type(operand) is not Tensor:
            numbers = True
        elif dtype is None:
            dtype = operand.dtype
        elif operand.dtype is not dtype:
            return None
    if dtype is None or not dtype.is_differentiable or (numbers and any(type(o) is complex for o in operands)):
        return None
    if not numbers:
        return operands  # type: ignore[return-value]  # the loop has checked that all are tensors
    return tuple([as_tensor(operand, dtype) for operand in operands])


def _broadcast(inputs: tuple[Tensor, ...], shape: Shape) -> tuple[tuple[Tensor, ...], Shape]:
    """Return the inputs of an elementwise node and their broadcast shape. `shape` is the shape of the first input."""
    equal, spread = True, False
    for tensor in inputs:
        if tensor.shape != shape:
            equal = False
        if tensor.node.primitive.broadcasts:
            spread = True
    if not equal:
        shape = broadcast_shapes([tensor.shape for tensor in inputs])
    return _unexpanded(list(inputs)) if spread else inputs, shape


def _unexpanded(inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Replace an expanded operand by its source if another operand has the same shape. This reads fewer elements."""
    for position, tensor in enumerate(inputs):
        if tensor.node.primitive.broadcasts:
            others = inputs[:position] + inputs[position + 1 :]
            if any(other.shape == tensor.shape for other in others):
                inputs[position] = _scalar(tensor.node.inputs[0])
    return tuple(inputs)


def _scalar(tensor: Tensor) -> Tensor:
    """Return the 0-d source if the tensor is a reshaped scalar. Ufuncs take scalars twice as fast as shape (1,)."""
    node = tensor.node
    if node.primitive.may_copy and node.primitive.pointwise and not node.inputs[0].shape:
        return node.inputs[0]
    return tensor


def is_one(tensor: Tensor) -> bool:
    """Whether a tensor is the constant 1 of any shape."""
    node = tensor.node
    while node.primitive.broadcasts or node.primitive.may_copy:
        node = node.inputs[0].node
    return node.primitive is CONSTANT and bool(node.params["value"] == 1)
