"""The elementwise primitive: the one kind that promotes, converts and broadcasts its operands itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.graph import Tensor, builder
from engine.lowering import Kernel
from engine.operands import CONSTANT, Promotion, as_tensor, constant
from engine.primitive import Primitive
from engine.types import DType, Number, broadcast_shapes


class Elementwise(Primitive):
    """A primitive whose output elements depend on one element of each broadcast input.

    It promotes and converts its operands itself; numbers become constants. `ufunc` gets arrays that broadcast.
    """

    kind = "elementwise"

    def __init__(self, function: Callable[..., Any], ufunc: Kernel, promotion: Promotion, **options: Any) -> None:
        super().__init__(function, **options)
        self.run = ufunc
        self.promotion = promotion

    def __call__(self, *operands: Tensor | Number, **params: Any) -> Tensor:
        """Add the node, after promotion, and return its result."""
        wanted, result = self.promotion(operands)
        inputs = tuple(
            [
                operand if type(operand) is Tensor and operand.dtype is dtype else as_tensor(operand, dtype)
                for operand, dtype in zip(operands, wanted, strict=True)
            ]
        )
        if tuple(params) != self.params:
            params = {name: params[name] for name in self.params}
        shape = inputs[0].shape
        if len(inputs) > 1:
            shape = broadcast_shapes([tensor.shape for tensor in inputs])
            for tensor in inputs:
                if tensor.node.primitive.broadcasts:
                    inputs = _unexpanded(list(inputs))
                    break
        if not shape and all(tensor.node.primitive is CONSTANT for tensor in inputs):
            return self._folded(inputs, params, result)
        return builder().apply(self, inputs, params, ((result, shape),)).outputs[0]

    def _folded(self, inputs: Sequence[Tensor], params: Mapping[str, Any], result: DType) -> Tensor:
        """Return the constant that constants give."""
        with np.errstate(all="ignore"):
            value = self.bind(params)(*[CONSTANT.bind(tensor.node.params)() for tensor in inputs])
        return constant(value.item(), result)


def _unexpanded(inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return what operands were expanded from, where another operand has the shape anyway: fewer elements to read."""
    for position, tensor in enumerate(inputs):
        if tensor.node.primitive.broadcasts:
            others = inputs[:position] + inputs[position + 1 :]
            if any(other.shape == tensor.shape for other in others):
                inputs[position] = _scalar(tensor.node.inputs[0])
    return tuple(inputs)


def _scalar(tensor: Tensor) -> Tensor:
    """Return the 0-d tensor that this is in another shape, if it is: ufuncs take scalars twice as fast as (1,)."""
    node = tensor.node
    if node.primitive.may_copy and node.primitive.pointwise and not node.inputs[0].shape:
        return node.inputs[0]
    return tensor
