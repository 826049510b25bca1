"""The state of one compilation: the traced program, vmap's axis and the plans added so far.

The modules of `engine.compile.derivatives` and `engine.check.compile` add derivatives to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf

from engine.autodiff.checkpoint import after_cuts, recomputed
from engine.autodiff.reverse import Edge
from engine.autodiff.sparsity.mode import count_of
from engine.autodiff.unit_vectors import Directions
from engine.compile.compiled import Array, Block, Compiled, Execution, Place, UnitVectors, numbers_of
from engine.compile.estimate import estimated
from engine.compile.mapping import Vmap
from engine.compile.request import Request
from engine.compile.targets import targets_require_grad
from engine.errors import Fault, GraphError, OpError, Path
from engine.execute.numpy.lowering import plan
from engine.graph.function import Function, ancestors
from engine.graph.graph import Tensor, building, check_elements
from engine.graph.limits import Limits
from engine.graph.promotion import as_tensor, leaf, source_of
from engine.graph.types import DType, Shape, int64
from engine.inspect.anomaly import Watches
from engine.inspect.dag import Dag
from engine.inspect.nan_gradients import nan_gradient_warnings
from engine.optimize.schedule import interleaved
from engine.plan.plan import Plan
from engine.program.names import Names
from engine.program.program import Leaf, Program
from engine.program.trace import trace


class TooSlow(Exception):
    """The predicted time exceeds the time of the alternative."""


class Derivation:
    """Traces a program for one index of vmap's axis, and plans the computation of tensors.

    `most_s` bounds the predicted seconds of a run.

    Use: find tensors by name in `lookup`. Then, inside `deriving()`, build derivatives and pass them to `values` and
    `jacobian_blocks`. Then call `compiled()`.
    """

    def __init__(
        self,
        program: Program,
        request: Request,
        limits: Limits,
        deadline: float | None = None,
        most_s: float = inf,
    ) -> None:
        self.limits, self.request = limits, request
        self.vmap = Vmap(program, request)
        tensors = {name: self.vmap.sample(name, given) for name, given in program.tensors.items()}
        self.traced = trace(
            replace(program, tensors=targets_require_grad(tensors, request)),
            limits,
            frozenset(request.targets),
            deadline,
        )
        self.lookup = Names(self.traced)
        self.empty: list[Place] = []
        self._zeros: list[tuple[Place, Shape, DType]] = []
        self._executions: list[Execution] = []
        self._remaining_s = most_s
        self._typed = len(self.traced.builder.nodes)
        self._boundary = 0
        self._tangents_start: int | None = None
        self._room = limits.bytes
        self._cuts = self.lookup.known(("checkpoint",), request.checkpoint)
        with building(self.traced.builder):
            self.vmap.map_leaves(self.traced.names)

    @contextmanager
    def deriving(self) -> Iterator[None]:
        """A context to build nodes in. Raises the faults found so far, and turns an OpError into a GraphError."""
        self.lookup.raise_faults()
        active = self.traced.builder
        try:
            with building(active):
                self._map_forward()
                yield
        except OpError as error:
            origin = active.origin
            path: Path = ("graph",) if origin is None else ("graph", "ops", origin)
            raise GraphError([Fault(path, error.code, f"in its derivative: {error.detail}", error.hint)]) from None

    # Tensors of the request that are not leaves of the program

    def brought(self, member: str, name: str, given: Leaf) -> Tensor:
        """Return the request's tensor (a seed, tangent or vector) for `name`, in the dtype of the tensor `name`.

        `given` is its type for one index of vmap's axis.
        """
        return as_tensor(self.vmap.brought(member, name, given), self.lookup.tensor(name).dtype)

    def symbolic_direction(self, tensor: Tensor) -> Tensor:
        """Return a leaf of the tensor's type: a symbolic direction."""
        return leaf(("direction", str(len(self._executions))), tensor.dtype, tensor.shape, requires_grad=True)

    def check_memory(self, peak_bytes: int) -> None:
        """Raise GraphError if a run takes more memory than the limit."""
        if peak_bytes > self.limits.bytes:
            detail = f"the computation holds up to {peak_bytes} bytes at once, over the limit of {self.limits.bytes}"
            hint = "Use smaller tensors or checkpoint, or ask the operator of the server for a higher limit."
            raise GraphError([Fault(("graph",), "memory_limit", detail, hint)])

    def reserve(self, room: int) -> None:
        """Reserve `room` bytes for results: they reduce the memory of each later pass."""
        self._room -= room

    # Results

    def values(
        self,
        results: Mapping[Place, Tensor],
        accumulate: Mapping[str, Leaf] | None = None,
        edges: Sequence[Edge] = (),
    ) -> None:
        """Add a plan that computes `results`, and with `detect_anomaly` also the cotangents along `edges`."""
        watches = self._watches(list(results.values()), edges)
        found = self.vmap.applied([*results.values(), *(watches.tensors if watches else ())])
        final = dict(zip(results, found, strict=False))
        watched = found[len(results) :]
        for tensor in found:
            check_elements(tensor.shape, self.limits.elements)  # a full read of a view takes memory
        for name, given in (accumulate or {}).items():
            before = leaf(("accumulate", name), given.dtype, given.shape)
            gradient = final["gradients", name]
            final["gradients", name] = as_tensor(before, gradient.dtype) + gradient
        if final:
            planned = self._planned([*final.values(), *watched])
            self._add(Execution(planned, values=tuple(final), watches=watches))

    def _watches(self, wanted: Sequence[Tensor], edges: Sequence[Edge]) -> Watches | None:
        if not self.request.detect_anomaly:
            return None
        watches = Watches()
        watches.forward(self.traced, set(ancestors(wanted)))
        watches.backward(self.traced, edges)
        return watches

    def zero(self, place: Place, shape: Shape, dtype: DType) -> None:
        """Add a result of zeros."""
        self._zeros.append((place, self.vmap.lead + shape, dtype))

    def jacobian_blocks(self, direction: Tensor, blocks: Sequence[tuple[Block, Tensor]], colours: Array | None) -> None:
        """Add a plan that computes blocks of a Jacobian from tensors that are linear in a symbolic direction.

        The memory limit bounds the number of directions in a batch.
        """
        if not blocks:
            return
        count = max(direction.numel, 1) if colours is None else count_of(colours)
        units = colours is None and direction.numel > 1
        planned, chunk = self.chunked(count, self._room, lambda chunk: self._blocks(direction, blocks, chunk, units))
        unit_vectors = UnitVectors(source_of(direction), direction.shape, direction.dtype, count, chunk, colours)
        self._add(Execution(planned, blocks=tuple(block for block, _ in blocks), unit_vectors=unit_vectors))

    def _add(self, execution: Execution) -> None:
        """Add an execution. Raises TooSlow if the predicted time of all executions exceeds `most_s`."""
        self._executions.append(execution)
        if self._remaining_s < inf:
            self._remaining_s -= estimated((execution,)).seconds
            if self._remaining_s < 0:
                raise TooSlow

    def _blocks(
        self, direction: Tensor, blocks: Sequence[tuple[Block, Tensor]], chunk: int, units: bool
    ) -> list[Tensor]:
        """Return the blocks for a batch of `chunk` directions. With `units` they are unit vectors."""
        source = source_of(direction)
        vectors = leaf(source, direction.dtype, (chunk, *direction.shape))
        numbers = leaf(numbers_of(source), int64, (chunk,)) if units and chunk < direction.numel else None
        directions = Directions(direction, vectors, units=units, numbers=numbers)
        directions.add([tensor for _, tensor in blocks])
        return [
            directions.last(tensor) if block.axis == "columns" else directions.first(tensor) for block, tensor in blocks
        ]

    def chunked(self, count: int, room: int, made: Callable[[int], list[Tensor]]) -> tuple[Plan, int]:
        """Return the plan for the largest batch, of at most `count` directions, within `room` bytes, and its size.

        `made` returns the tensors for a number of directions. Raises OpError if a single direction exceeds a limit.
        """
        planned = self._attempt(made, count)
        while planned is None or (planned.peak_bytes > room and count > 1):
            count = (count + 1) // 2
            planned = self._attempt(made, count)
        return planned, count

    def _attempt(self, made: Callable[[int], list[Tensor]], count: int) -> Plan | None:
        """Return the plan for a batch of `count` directions, or None if a tensor exceeds the limit."""
        try:
            return self._planned(self.vmap.applied(made(count)))
        except OpError:
            if count == 1:
                raise
            return None

    def schedule_early(self) -> None:
        """Schedule the nodes built from here as early as their inputs allow."""
        self._tangents_start = len(self.traced.builder.nodes)

    def _map_forward(self) -> None:
        """Add the forward pass over vmap's axis, before the nodes of derivatives."""
        self.vmap.map_forward(list(self.traced.names.values()), self.request.randomness)
        self._boundary = len(self.traced.builder.nodes)

    def _planned(self, wanted: Sequence[Tensor]) -> Plan:
        """Return the plan, in which the backward pass recomputes the values between cuts.

        Values after the last cuts are computed once, if that takes no more memory.
        """
        function = Function.of(wanted)
        if not self._cuts:
            if self._tangents_start is not None:
                function = interleaved(function, self._boundary, self._tangents_start)
            return plan(function, boundary=self._boundary)
        cuts = self.vmap.applied([self.lookup.tensor(name) for name in self._cuts])
        keep = [*cuts, *(tensor for tensor in wanted if tensor.node.index < self._boundary)]
        again, once = (
            plan(recomputed(function, self._boundary, kept), boundary=self._boundary)
            for kept in (keep, [*keep, *after_cuts(function, self._boundary, cuts)])
        )
        return once if once.peak_bytes <= again.peak_bytes else again

    def _warnings(self) -> tuple[str, ...]:
        noticed = self.traced.notices()
        if not self.request.differentiates:
            return noticed
        return noticed + nan_gradient_warnings(self.traced, self.traced.builder.nodes[: self._typed])

    def compiled(self, groups: tuple[str, ...], roots: tuple[str, ...] = ()) -> Compiled:
        """Return the compiled request: all plans added so far."""
        return Compiled(
            tuple(self._executions),
            Dag.of(self.traced, roots),
            groups,
            tuple(self.empty),
            tuple(self._zeros),
            self.vmap.lead,
            self._warnings(),
        )

    def release(self) -> None:
        """Release the graph. Executables must be made before."""
        plans = [execution.plan for execution in self._executions]
        units = [node for plan in plans for unit in plan.units for node in unit.nodes]
        self.traced.builder.release([*units, *(node for plan in plans for node in plan.function.nodes)])
