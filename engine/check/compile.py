"""Compilation of gradient checks. The package `engine` exports `compile_check`.

The function is the sum of the roots, weighted by their seeds, in double precision. A number of elements of every input
is moved. Forward mode must agree with reverse mode: `<u, J v> = <Jᵀ u, v>` for random directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from engine.autodiff.forward import jvp, zeros
from engine.autodiff.reverse import Edge, backward
from engine.autodiff.vmap import batched, lifted
from engine.check.complex_step import complex_step
from engine.check.run import Check, CheckRequest, Moved
from engine.compile.compiled import Place
from engine.compile.derivation import Derivation
from engine.compile.derivatives.gradients import check_accumulated, unreached
from engine.compile.derivatives.seeds import seed_of, typed_roots
from engine.errors import GraphError
from engine.execute.executor import Executor
from engine.execute.numpy.runner import numpy_executor
from engine.graph.function import ancestors
from engine.graph.graph import Tensor
from engine.graph.limits import Limits
from engine.graph.promotion import as_tensor, constant, leaf
from engine.graph.types import DType, float64
from engine.ops.elementwise.arithmetic import abs
from engine.ops.elementwise.selection import maximum
from engine.ops.reduction.sums import sum as summed
from engine.optimize.cost import flops
from engine.program.program import Leaf, Program

WORK = 2**32
"""The operations for the differences: some seconds. They determine the number of moved elements."""

FEWEST, MOST = 8, 4096
"""The minimum and maximum number of moved elements of an input. A larger tensor is sampled."""

ROOM = 2**26
"""The maximum number of bytes of a batch of moved elements."""

COMPLEX_ROOM = 2**28
"""The maximum number of bytes of a complex step: it runs node by node, in numbers of twice the size."""

NEAR_ZERO = 0.01
"""The minimum magnitude that a step is relative to."""


def compile_check(
    program: Program,
    request: CheckRequest,
    limits: Limits,
    deadline: float | None = None,
    executor: Executor = numpy_executor,
) -> Check:
    """Return the compiled check. Raises the errors of `compile` for a request of gradients.

    The check uses double precision, unless ops require a dtype that does not mix with it.
    """
    try:
        wide = replace(request, backward=_wide_seeds(request))
        return _compiled(_wide(program), wide, limits, deadline, executor)
    except GraphError:
        return replace(_compiled(program, request, limits, deadline, executor), wide=False)


def _compiled(
    program: Program, request: CheckRequest, limits: Limits, deadline: float | None, executor: Executor
) -> Check:
    derivation = Derivation(program, request, limits, deadline)
    lookup = derivation.lookup
    lookup.outputs(request.outputs)
    roots = lookup.roots(typed_roots(derivation, request.backward))
    targets = lookup.targets(request.wrt) if request.wrt is not None or roots else []
    check_accumulated(derivation, request.accumulate, targets)
    with derivation.deriving():
        seeded = [(lookup.tensor(name), seed_of(derivation, name, given)) for name, given in roots.items()]
        function = _Function(derivation, seeded, {name: lookup.tensor(name) for name in targets})
        unit = function.unit()
        function.add_pass(request, unit)
        moved = tuple(function.moved(name, request.eps, unit, executor) for name in targets)
    gradients = derivation.compiled(("function", "gradients", "steps"), roots=tuple(roots))
    check = Check(gradients.executable(executor), moved, request, unit, wide=True)
    derivation.check_memory(check.peak_bytes)
    return check


def _wide(program: Program) -> Program:
    """Return the program in double precision."""
    dtype = float64 if program.dtype.is_floating else program.dtype
    return replace(program, tensors={name: _wide_leaf(given) for name, given in program.tensors.items()}, dtype=dtype)


def _wide_leaf(given: Leaf) -> Leaf:
    return replace(given, dtype=_wide_dtype(given.dtype))


def _wide_dtype(dtype: DType) -> DType:
    return float64 if dtype.is_floating else dtype


def _wide_seeds(request: CheckRequest) -> Mapping[str, Leaf | None] | None:
    if request.backward is None:
        return None
    return {name: None if seed is None else _wide_leaf(seed) for name, seed in request.backward.items()}


@dataclass(frozen=True, slots=True)
class _Function:
    """The weighted sum of the roots, as nodes, and its targets."""

    derivation: Derivation
    seeded: list[tuple[Tensor, Tensor]]
    targets: Mapping[str, Tensor]

    def terms(self) -> list[Tensor]:
        """Return each root times its seed."""
        return [root * seed for root, seed in self.seeded]

    def unit(self) -> float:
        """Return the rounding error of the narrowest floating dtype in the graph."""
        dtypes = {tensor.dtype for node in ancestors(self.terms()) for tensor in node.outputs}
        return max(float(np.finfo(dtype.numpy).eps) for dtype in dtypes if dtype.is_floating)

    def add_pass(self, request: CheckRequest, unit: float) -> None:
        """Add a pass for the value, the gradients, the steps and the tangent."""
        edges: list[Edge] | None = [] if request.detect_anomaly else None
        found = backward(self.seeded, list(self.targets.values()), edges)
        results: dict[Place, Tensor] = {
            ("function", "value"): _total(self.terms()),
            ("function", "magnitude"): _total([abs(term) for term in self.terms()]),
            ("function", "tangent"): self._tangent(),
        }
        for position, ((name, wrt), gradient) in enumerate(zip(self.targets.items(), found, strict=True)):
            if gradient is None and request.unreached == "error":
                self.derivation.lookup.fault(*unreached(name, position))
            results["gradients", name] = zeros(wrt) if gradient is None else gradient
            results["steps", name] = self._step(wrt, request.eps, unit)
        self.derivation.lookup.raise_faults()
        self.derivation.values(results, edges=edges or ())

    def _tangent(self) -> Tensor:
        """Return the function's tangent along a random direction of every input."""
        leaves = self.derivation.traced.program.tensors
        drawn = {name: leaf(("drawn", name), float64, wrt.shape) for name, wrt in self.targets.items()}
        groups = [[name for name in drawn if name in leaves], *[[name] for name in drawn if name not in leaves]]
        tangents: list[Tensor] = []
        for names in groups:  # an intermediate result is a group of its own: it depends on other moved tensors
            along = {self.targets[name]: as_tensor(drawn[name], self.targets[name].dtype) for name in names}
            tangents += [tangent for tangent in jvp([_total(self.terms())], along) if tangent is not None]
        return reduce(add, tangents) if tangents else constant(0, float64)

    def _step(self, wrt: Tensor, eps: float | None, unit: float) -> Tensor:
        """Return the inner step for each element: half of `eps`, or a fraction of the element by the precision."""
        if eps is not None:  # a step below the rounding error moves nothing
            return maximum(as_tensor(abs(wrt), float64) * unit**0.5, eps / 2)
        part = 5e-5 if unit < 1e-15 else unit**0.25 / 2
        return as_tensor(maximum(abs(wrt), NEAR_ZERO), float64) * part

    def moved(self, name: str, eps: float | None, unit: float, executor: Executor) -> Moved:
        """Return the plan of the function with moved elements of one input, in batches of at most ROOM bytes."""
        wrt, terms = self.targets[name], self.terms()
        step, order = self._step(wrt, eps, unit), ancestors(terms)
        cut = [node for node in order if node.inputs and not node.primitive.differentiable]
        frozen = [tensor for node in cut for tensor in node.outputs if tensor.dtype.is_floating]

        def made(chunk: int) -> list[Tensor]:
            direction = leaf(("moved", name), float64, (chunk, *wrt.shape))
            mapped = {tensor: lifted(tensor, chunk) for tensor in frozen}
            mapped[wrt] = lifted(wrt, chunk) + as_tensor(direction * step, wrt.dtype)
            return batched([_total(terms)], mapped, chunk)

        tensors = [tensor for node in order for tensor in node.outputs]
        elements = sum(tensor.numel for tensor in tensors) + wrt.numel
        work = elements + sum(map(flops, order))
        samples = self.derivation.vmap.size or 1
        most = WORK // max(1, 4 * samples * len(self.targets) * work)
        count = max(1, min(wrt.numel, max(FEWEST, min(MOST, most))))
        room = min(ROOM, self.derivation.limits.bytes)
        start = max(1, min(count, room // max(1, 8 * samples * elements)))
        planned, chunk = self.derivation.chunked(start, room, made)
        stepping = complex_step(planned, ("moved", name), min(COMPLEX_ROOM, self.derivation.limits.bytes))
        return Moved(name, planned.settled(), executor(planned), wrt.shape, count, chunk, stepping)


def _total(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of all elements of all terms."""
    return reduce(add, [as_tensor(summed(term), float64) for term in terms])
