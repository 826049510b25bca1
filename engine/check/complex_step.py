"""Derivatives by complex steps: the imaginary part of f(x + ih), divided by h, for a tiny step h.

There is no subtraction: the derivative is accurate to the last digits. All nodes from the moved leaf to the result must
be analytic, and their kernels must accept complex arrays. `engine.check.compile` makes complex steps, and
`engine.check.run` runs them before differences.

Source: Squire and Trapp 1998, "Using complex variables to estimate derivatives of real functions".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import DeadlineExceeded, OpError
from engine.execute.numpy.kernels import kernel_of
from engine.graph.function import Function
from engine.graph.graph import Node, Tensor
from engine.plan.plan import Plan, Source

Array = np.ndarray[Any, Any]

TINY = 1e-20
"""The complex step, as a fraction of the step of a difference. Its square is negligible."""


class NotAnalyticError(Exception):
    """A kernel does not accept complex arrays, or is not analytic at a value."""


@dataclass(frozen=True, slots=True)
class ComplexStep:
    """The derivative of a function with one output with respect to one leaf, by a complex step in this leaf.

    `moved` contains the nodes that depend on the leaf, `dead` the tensors whose last reader is each node.
    """

    function: Function
    moved: frozenset[Node]
    dead: tuple[tuple[Tensor, ...], ...]

    def peak_bytes(self) -> int:
        """Return a bound on the peak memory. Tensors that depend on the moved leaf are complex."""
        alive = most = sum(map(self._bytes, self.function.inputs))
        for node, dead in zip(self.function.nodes, self.dead, strict=True):
            alive += sum(map(self._bytes, node.outputs))
            most = max(most, alive)
            alive -= sum(map(self._bytes, dead))
        return most

    def _bytes(self, tensor: Tensor) -> int:
        return tensor.numel * (16 if tensor.node in self.moved else tensor.dtype.itemsize)

    def derivatives(self, given: Mapping[Source, Any], deadline: float | None) -> Array:
        """Return the imaginary part of the result. Raises NotAnalyticError and DeadlineExceeded."""
        _check_time(deadline)
        memory: dict[Tensor, Any] = {tensor: given[tensor.node.params["source"]] for tensor in self.function.inputs}
        with np.errstate(all="ignore"):
            for node, dead in zip(self.function.nodes, self.dead, strict=True):
                _check_time(deadline)
                self._run(node, memory)
                for tensor in dead:
                    del memory[tensor]
        return np.imag(memory[self.function.outputs[0]])

    def _run(self, node: Node, memory: dict[Tensor, Any]) -> None:
        try:
            result = kernel_of(node.primitive)(*[memory[tensor] for tensor in node.inputs], **node.params)
        except (OpError, TypeError) as error:  # NumPy raises TypeError for a ufunc without a complex loop
            raise NotAnalyticError from error
        results = result if node.primitive.several else (result,)
        if node in self.moved and not all(np.iscomplexobj(array) for array in results):
            raise NotAnalyticError
        memory.update(zip(node.outputs, results, strict=True))


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded("the deadline passed in a complex step")


def complex_step(plan: Plan, moved: Source, room: int) -> ComplexStep | None:
    """Return the complex step of the leaf `moved` in the function of a plan with one output.

    Returns None if the plan has no steps, if a node between the leaf and the output is not known to be analytic, or if
    the peak memory exceeds `room` bytes.
    """
    if not plan.units:
        return None
    function = plan.function
    depending = {tensor.node for tensor in function.inputs if tensor.node.params["source"] == moved}
    for node in function.nodes:
        if any(tensor.node in depending for tensor in node.inputs):
            if not node.primitive.analytic:
                return None
            depending.add(node)
    step = ComplexStep(function, frozenset(depending), _dead(function))
    return step if step.peak_bytes() <= room else None


def _dead(function: Function) -> tuple[tuple[Tensor, ...], ...]:
    """Return the tensors whose last reader is each node."""
    seen: set[Tensor] = set(function.outputs)
    dead: list[tuple[Tensor, ...]] = []
    for node in reversed(function.nodes):
        last = dict.fromkeys(tensor for tensor in (*node.inputs, *node.outputs) if tensor not in seen)
        seen.update(last)
        dead.append(tuple(last))
    return tuple(reversed(dead))
