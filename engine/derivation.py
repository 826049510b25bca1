"""The state of one compilation: the traced program, what is mapped over, and the sweeps that were asked for so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf

from engine.anomaly import Watches
from engine.asked import mapped_axes, targets_require_grad
from engine.autodiff.basis import Directions
from engine.autodiff.batching import batched
from engine.autodiff.checkpoint import behind, recomputed
from engine.autodiff.passes import count_of
from engine.autodiff.reverse import Edge
from engine.compiled import Array, Basis, Block, Compiled, Place, Sweep, numbers_of
from engine.dag import Dag
from engine.errors import Fault, GraphError, OpError, Path
from engine.estimate import estimated
from engine.execute.planning import plan
from engine.function import Function, ancestors
from engine.graph import Tensor, building, check_elements
from engine.lookup import Lookup
from engine.operands import LEAF, as_tensor, leaf
from engine.ops.movement import permuted
from engine.ops.seed import forked
from engine.optimize.order import interleaved
from engine.plan import Plan
from engine.program import Leaf, Limits, Program
from engine.requests import Request
from engine.trace import trace
from engine.traps import traps
from engine.types import DType, Shape, int64, numel


class Dearer(Exception):
    """A derivative is predicted to take longer than the one that it is compared with."""


class Derivation:
    """Traces a program as one index of vmap's axis sees it, and turns wanted tensors into sweeps.

    `most_s` bounds the predicted seconds of a run.

    Use: look names up in `lookup`; then, inside `deriving()`, build derivatives and hand them to `values` and `sweep`;
    then take `compiled()`.
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
        self.size, self._axes = mapped_axes(program, request)
        tensors = {name: self._sample(name, given) for name, given in program.tensors.items()}
        self.traced = trace(
            replace(program, tensors=targets_require_grad(tensors, request)),
            limits,
            frozenset(request.targets),
            deadline,
        )
        self.lookup = Lookup(self.traced)
        self.empty: list[Place] = []
        self._zeros: list[tuple[Place, Shape, DType]] = []
        self._sweeps: list[Sweep] = []
        self._left_s = most_s
        self.mapped: dict[Tensor, Tensor] = {}
        self._typed = len(self.traced.builder.nodes)
        self._boundary = 0
        self._turn: int | None = None
        self._room = limits.bytes  # what the blocks of a Jacobian leave to each of its sweeps
        self._cuts = self.lookup.known(("checkpoint",), request.checkpoint)
        self._brought: Mapping[str, Leaf] = {}
        with building(self.traced.builder):
            for name in filter(self._axes.__contains__, program.tensors):
                self._map(("tensors", name), self.traced.names[name], program.tensors[name], self._axes[name])

    @property
    def lead(self) -> Shape:
        """The axis that vmap puts in front of every result."""
        return () if self.size is None else (self.size,)

    @contextmanager
    def deriving(self) -> Iterator[None]:
        """Build nodes inside: faults found so far are raised first, an op's refusal becomes a fault of its own."""
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

    # Tensors that the request brings besides the leaves

    def _sample(self, name: str, given: Leaf) -> Leaf:
        """Return the type that one index of vmap's axis sees."""
        if name not in self._axes:
            return given
        axis = self._axes[name] % len(given.shape)
        return replace(given, shape=given.shape[:axis] + given.shape[axis + 1 :])

    def typed(self, given: Mapping[str, Leaf]) -> dict[str, Leaf]:
        """Return the types of seeds or directions as one index of vmap's axis sees them."""
        self._brought = given
        return {name: self._sample(name, whole) for name, whole in given.items()}

    def brought(self, member: str, name: str, given: Leaf) -> Tensor:
        """Return the tensor that the request brings for `name`, in the dtype of what it belongs to."""
        tensor = leaf((member, name), given.dtype, given.shape)
        if name in self._axes:
            self._map((member, name), tensor, self._brought[name], self._axes[name])
        return as_tensor(tensor, self.lookup.tensor(name).dtype)

    def _map(self, source: tuple[str, str], sample: Tensor, whole: Leaf, axis: int) -> None:
        """Let a leaf run over an axis: the whole tensor, with that axis in front, stands for it."""
        rank = len(whole.shape)
        order = [axis % rank, *(dim for dim in range(rank) if dim != axis % rank)]
        self.mapped[sample] = permuted(leaf(source, whole.dtype, whole.shape), tuple(dim - rank for dim in order))

    def stand_in(self, tensor: Tensor) -> Tensor:
        """Return a leaf of the tensor's type that stands for any direction."""
        return leaf(("direction", str(len(self._sweeps))), tensor.dtype, tensor.shape, requires_grad=True)

    # Checks

    def check_accumulated(self, given: Mapping[str, Leaf], targets: Sequence[str]) -> None:
        """Report what gradients cannot be added to."""
        differentiated = set(targets)
        for name in self.lookup.known(("accumulate",), given, keys=True):
            shape = self.lead + self.lookup.tensor(name).shape
            if name not in differentiated:
                hint = "Add it to wrt, or leave it out."
                self.lookup.fault(("accumulate", name), "not_in_wrt", f"no gradient of {name!r} is asked for", hint)
            elif given[name].shape != shape:
                self.lookup.fault(
                    ("accumulate", name),
                    "shape_mismatch",
                    f"it has shape {list(given[name].shape)}, and the gradient of {name!r} {list(shape)}",
                    "Give the gradient that an earlier call returned.",
                )

    def check_blocks(self, outputs: Sequence[str], inputs: Sequence[str]) -> None:
        """Report blocks of a Jacobian that have too many elements."""
        for output in outputs:
            for wrt in inputs:
                shape = self.lead + self.lookup.tensor(output).shape + self.lookup.tensor(wrt).shape
                self._room -= 2 * numel(shape) * self.lookup.tensor(wrt).dtype.itemsize
                if numel(shape) > self.limits.elements:
                    self.lookup.fault(
                        ("graph",),
                        "elements_limit",
                        f"the derivative of {output!r} by {wrt!r} has shape {list(shape)}, "
                        f"{numel(shape)} elements, over the limit of {self.limits.elements}",
                        "Name fewer outputs or wrt, or ask for products (jvp, hvp, gradients) instead.",
                    )

    def check_memory(self, peak_bytes: int) -> None:
        """Raise GraphError where running takes more memory than the limit."""
        if peak_bytes > self.limits.bytes:
            detail = f"the computation holds up to {peak_bytes} bytes at once, over the limit of {self.limits.bytes}"
            hint = "Use smaller tensors or checkpoint, or ask the operator of the server for a higher limit."
            raise GraphError([Fault(("graph",), "memory_limit", detail, hint)])

    # Results

    def values(
        self,
        results: Mapping[Place, Tensor],
        accumulate: Mapping[str, Leaf] | None = None,
        edges: Sequence[Edge] = (),
    ) -> None:
        """Ask for tensors, in one sweep; where anomalies are looked for, also for what flows along `edges`."""
        watches = self._watches(list(results.values()), edges)
        found = self._finished([*results.values(), *(watches.tensors if watches else ())])
        final = dict(zip(results, found, strict=False))
        watched = found[len(results) :]
        for tensor in found:
            check_elements(tensor.shape, self.limits.elements)  # a view takes memory when it is read as a whole
        for name, given in (accumulate or {}).items():
            before = leaf(("accumulate", name), given.dtype, given.shape)
            gradient = final["gradients", name]
            final["gradients", name] = as_tensor(before, gradient.dtype) + gradient
        if final:
            planned = self._planned([*final.values(), *watched])
            self._add(Sweep(planned, values=tuple(final), watches=watches))

    def _watches(self, wanted: Sequence[Tensor], edges: Sequence[Edge]) -> Watches | None:
        if not self.request.detect_anomaly:
            return None
        watches = Watches()
        watches.forward(self.traced, set(ancestors(wanted)))
        watches.backward(self.traced, edges)
        return watches

    def zero(self, place: Place, shape: Shape, dtype: DType) -> None:
        """Ask for zeros."""
        self._zeros.append((place, self.lead + shape, dtype))

    def sweep(self, direction: Tensor, blocks: Sequence[tuple[Block, Tensor]], colours: Array | None) -> None:
        """Ask for blocks of a Jacobian: tensors that are linear in a stand-in direction, for a basis of directions.

        As many directions run at once as the memory limit lets.
        """
        if not blocks:
            return
        count = max(direction.numel, 1) if colours is None else count_of(colours)
        units = colours is None and direction.numel > 1
        planned, chunk = self.chunked(count, self._room, lambda chunk: self._blocks(direction, blocks, chunk, units))
        basis = Basis(_source(direction), direction.shape, direction.dtype, count, chunk, colours)
        self._add(Sweep(planned, blocks=tuple(block for block, _ in blocks), basis=basis))

    def _add(self, sweep: Sweep) -> None:
        """Add a sweep. Raises Dearer where all of them are predicted to take longer than `most_s`."""
        self._sweeps.append(sweep)
        if self._left_s < inf:
            self._left_s -= estimated((sweep,)).seconds
            if self._left_s < 0:
                raise Dearer

    def _blocks(
        self, direction: Tensor, blocks: Sequence[tuple[Block, Tensor]], chunk: int, units: bool
    ) -> list[Tensor]:
        """Return the blocks for `chunk` directions at once: unit vectors, or any."""
        source = _source(direction)
        basis = leaf(source, direction.dtype, (chunk, *direction.shape))
        numbers = leaf(numbers_of(source), int64, (chunk,)) if units and chunk < direction.numel else None
        directions = Directions(direction, basis, units=units, numbers=numbers)
        directions.add([tensor for _, tensor in blocks])
        return [
            directions.last(tensor) if block.axis == "columns" else directions.first(tensor) for block, tensor in blocks
        ]

    def chunked(self, count: int, room: int, made: Callable[[int], list[Tensor]]) -> tuple[Plan, int]:
        """Return the plan for as many of `count` directions at once as there is room for, and how many those are.

        `made` returns the tensors for a number of directions. Raises OpError where one alone is over a limit.
        """
        planned = self._attempt(made, count)
        while planned is None or (planned.peak_bytes > room and count > 1):
            count = (count + 1) // 2
            planned = self._attempt(made, count)
        return planned, count

    def _attempt(self, made: Callable[[int], list[Tensor]], count: int) -> Plan | None:
        """Return the plan for `count` directions at once, or None where tensors would be over the limit."""
        try:
            return self._planned(self._finished(made(count)))
        except OpError:
            if count == 1:
                raise
            return None

    def tangents_follow(self) -> None:
        """Let what is built from here on run as soon as what it needs is known."""
        self._turn = len(self.traced.builder.nodes)

    def _map_forward(self) -> None:
        """Make the nodes of the forward pass as they run, so that those of derivatives come behind them."""
        if self.size is not None:
            forward = list(self.traced.names.values())
            if self.request.randomness == "different":
                self.mapped.update(self._forks(forward, self.size))
            batched(forward, self.mapped, self.size)
        self._boundary = len(self.traced.builder.nodes)

    def _forks(self, forward: Sequence[Tensor], size: int) -> dict[Tensor, Tensor]:
        """Return a seed for each index, for every leaf that random ops draw from."""
        seeds = [node.outputs[0] for node in ancestors(forward) if node.primitive is LEAF]
        return {seed: forked(seed, size) for seed in seeds if _source(seed)[0] == "seed"}

    def _finished(self, wanted: list[Tensor]) -> list[Tensor]:
        """Return tensors mapped over vmap's axis."""
        return wanted if self.size is None else batched(wanted, self.mapped, self.size)

    def _planned(self, wanted: Sequence[Tensor]) -> Plan:
        """Return the plan, with what lies between cuts computed again on the way back.

        What lies behind the last cuts is computed once, where that takes no more memory.
        """
        function = Function.of(wanted)
        if not self._cuts:
            if self._turn is not None:
                function = interleaved(function, self._boundary, self._turn)
            return plan(function, boundary=self._boundary)
        cuts = self._finished([self.lookup.tensor(name) for name in self._cuts])
        keep = [*cuts, *(tensor for tensor in wanted if tensor.node.index < self._boundary)]
        again, once = (
            plan(recomputed(function, self._boundary, kept), boundary=self._boundary)
            for kept in (keep, [*keep, *behind(function, self._boundary, cuts)])
        )
        return once if once.peak_bytes <= again.peak_bytes else again

    def _warnings(self) -> tuple[str, ...]:
        if not self.request.differentiates:
            return ()
        return traps(self.traced, self.traced.builder.nodes[: self._typed])

    def compiled(self, groups: tuple[str, ...], roots: tuple[str, ...] = ()) -> Compiled:
        """Return what was asked for."""
        return Compiled(
            tuple(self._sweeps),
            Dag.of(self.traced, roots),
            groups,
            tuple(self.empty),
            tuple(self._zeros),
            self.lead,
            self._warnings(),
        )

    def let_go(self) -> None:
        """Take the graph apart. Executables are made before."""
        plans = [sweep.plan for sweep in self._sweeps]
        units = [node for plan in plans for unit in plan.units for node in unit.nodes]
        self.traced.builder.let_go([*units, *(node for plan in plans for node in plan.function.nodes)])


def _source(tensor: Tensor) -> tuple[str, str]:
    source: tuple[str, str] = tensor.node.params["source"]
    return source
