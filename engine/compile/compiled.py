"""A compiled request: its plans, their execution, and the assembly of Jacobians from blocks.

The plan of a gradient runs once. The plan of a Jacobian runs once for each batch of directions; the batch is an input.
`engine.compile.derivation` makes compiled requests, the evaluation of the service runs them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from engine.autodiff.sparsity.mode import Pattern
from engine.execute.executor import Executable, Executor
from engine.graph.types import DType, Shape, numel
from engine.inspect.anomaly import Watches
from engine.inspect.dag import Dag
from engine.plan.plan import Plan, Source

Array = np.ndarray[Any, Any]
Place = tuple[str, ...]
"""The location of a result in the reply: ("gradients", "w"), ("jacobian", "loss", "w")."""

SEED: Source = ("seed", "")
"""The seed of random ops."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a Jacobian: the derivatives of a tensor of shape `output` by a tensor of shape `input`.

    A plan computes its columns (forward mode: directions last) or its rows (reverse mode: directions first).
    """

    place: Place
    axis: Literal["columns", "rows"]
    output: Shape
    input: Shape
    pattern: Pattern | None = None

    def assembled(self, parts: Sequence[Array], lead: Shape) -> Array:
        """Return the block of shape lead + output + input from the results of the plan for each batch."""
        rows, columns = numel(self.output), numel(self.input)
        if self.axis == "columns":
            found = np.concatenate([part.reshape(*lead, rows, part.shape[-1]) for part in parts], axis=-1)
        else:
            found = np.concatenate([part.reshape(*lead, part.shape[len(lead)], columns) for part in parts], axis=-2)
        if self.pattern is not None:
            found = self._spread(found, (*lead, rows, columns))
        return found[..., :rows, :columns].reshape((*lead, *self.output, *self.input))

    def _spread(self, found: Array, shape: Shape) -> Array:
        """Scatter compressed columns or rows to the elements of the pattern."""
        pattern = self.pattern
        assert pattern is not None
        full = np.zeros(shape, found.dtype)
        where = (pattern.rows, pattern.colours) if self.axis == "columns" else (pattern.colours, pattern.columns)
        full[..., pattern.rows, pattern.columns] = found[..., where[0], where[1]]
        return full


@dataclass(frozen=True, slots=True, eq=False)
class UnitVectors:
    """The directions of a plan, in batches of `chunk`: unit vectors, or sums of the unit vectors of one colour.

    `colours` maps each element of the direction's space to the number of its direction. A plan may also read the
    indices of the unit vectors, from `numbers_of(source)`.
    """

    source: Source
    shape: Shape
    dtype: DType
    count: int
    chunk: int
    colours: Array | None = None

    def batches(self) -> Iterator[Array]:
        """Yield batches of directions of shape (chunk, *shape). The last batch is padded with zeros."""
        yield from map(self._directions, self._starts)

    def inputs(self, read: Collection[Source]) -> Iterator[dict[Source, Array]]:
        """Yield the inputs of each batch that are in `read`: the directions, and the indices of unit vectors."""
        given = {self.source: self._directions, numbers_of(self.source): self._numbers}
        for start in self._starts:
            yield {source: made(start) for source, made in given.items() if source in read}

    @property
    def _starts(self) -> range:
        return range(0, self.count, self.chunk)

    def _directions(self, start: int) -> Array:
        size = numel(self.shape)
        colours = np.arange(size) if self.colours is None else self.colours
        batch = np.zeros((self.chunk, size), self.dtype.numpy)
        inside = np.flatnonzero((colours >= start) & (colours < start + self.chunk))
        batch[colours[inside] - start, inside] = 1
        return batch.reshape(self.chunk, *self.shape)

    def _numbers(self, start: int) -> Array:
        """Return the indices of unit vectors, of shape (chunk). The last batch is padded with the last index."""
        return np.minimum(np.arange(start, start + self.chunk), self.count - 1)


def numbers_of(source: Source) -> Source:
    """Return the source of the indices of the unit vectors at `source`."""
    return ("numbers", source[1])


@dataclass(frozen=True, slots=True)
class Execution:
    """A plan, the directions for which it runs, and the places of its results in the reply.

    The results are `values`, or `blocks` of a Jacobian. A plan for blocks runs once for each batch of `unit_vectors`, a
    plan for values runs once. The tensors that `watches` checks follow the values.
    """

    plan: Plan
    values: tuple[Place, ...] = ()
    blocks: tuple[Block, ...] = ()
    unit_vectors: UnitVectors | None = None
    watches: Watches | None = None

    @property
    def block_bytes(self) -> int:
        """The bytes of the blocks for one index of vmap's axis."""
        size = 0 if self.unit_vectors is None else self.unit_vectors.dtype.itemsize
        return sum(numel(block.output) * numel(block.input) for block in self.blocks) * size


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled request: its executions, the serialized DAG and the warnings.

    `executables` contains the executable of each plan; it is empty in an explanation. `empty` contains the places of
    null results, `zeros` the places of results that are zero for every input. `lead` is the shape of vmap's axis.
    `seeded` is true if random ops read a seed. A compiled request contains no values, so several threads can run it at
    the same time.
    """

    executions: tuple[Execution, ...]
    drawn: Dag
    groups: tuple[str, ...]
    empty: tuple[Place, ...] = ()
    zeros: tuple[tuple[Place, Shape, DType], ...] = ()
    lead: Shape = ()
    warnings: tuple[str, ...] = ()
    executables: tuple[Executable, ...] = field(default=(), repr=False, compare=False)
    seeded: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sources = {source for execution in self.executions for source, _ in execution.plan.inputs}
        object.__setattr__(self, "seeded", SEED in sources)

    @property
    def dag(self) -> dict[str, Any]:
        """The serialized DAG. Each call makes a new one."""
        return self.drawn.serialized()

    def executable(self, executor: Executor) -> Compiled:
        """Return a copy with an executable for each plan and without references to the graph."""
        settled = tuple([replace(execution, plan=execution.plan.settled()) for execution in self.executions])
        return replace(
            self, executions=settled, executables=tuple([executor(execution.plan) for execution in self.executions])
        )

    @property
    def results(self) -> Iterator[tuple[Place, Shape, DType]]:
        """The place, shape and dtype of each array result."""
        for execution in self.executions:
            # The results after the values are watched tensors.
            for place, (shape, dtype) in zip(execution.values, execution.plan.results, strict=False):
                yield place, shape, dtype
            for block, (_, dtype) in zip(execution.blocks, execution.plan.results, strict=False):
                yield block.place, (*self.lead, *block.output, *block.input), dtype
        yield from self.zeros

    @property
    def steps(self) -> int:
        """The number of steps of all plans."""
        return sum(execution.plan.code.count for execution in self.executions)

    @property
    def directions(self) -> int:
        """The number of directions of a Jacobian, summed over its plans."""
        return sum(execution.unit_vectors.count for execution in self.executions if execution.unit_vectors is not None)

    @property
    def peak_bytes(self) -> int:
        """A bound on the peak memory of a run. The assembly of a Jacobian holds its blocks twice."""
        blocks = sum(execution.block_bytes for execution in self.executions)
        return 2 * numel(self.lead) * blocks + max(
            (execution.plan.peak_bytes for execution in self.executions), default=0
        )

    def run(self, values: Mapping[Source, Any], *, seed: int = 0, deadline: float | None = None) -> dict[str, Any]:
        """Return the results: for each group ("outputs", "gradients", …) arrays, or None, by name.

        `values` maps a member and a name of the request to an array: ("tensors", "w"), ("backward", "z"). `seed` is the
        seed of random ops, `deadline` a moment of `time.monotonic()`. Raises ValueFault if an op rejects a value or a
        watched tensor is not finite, and DeadlineExceeded.
        """
        given = {**values, SEED: np.int64(seed)} if self.seeded else values
        results: dict[str, Any] = {group: {} for group in self.groups}
        for execution, executable in zip(self.executions, self.executables, strict=True):
            for place, array in self._run(execution, executable, given, deadline):
                _put(results, place, np.asarray(array))
        for place in self.empty:
            _put(results, place, None)
        for place, shape, dtype in self.zeros:
            _put(results, place, np.zeros(shape, dtype.numpy))
        return results

    def _run(
        self, execution: Execution, executable: Executable, given: Mapping[Source, Any], deadline: float | None
    ) -> Iterable[tuple[Place, Any]]:
        if execution.unit_vectors is None:
            found = executable.run(given, deadline=deadline)
            if execution.watches is not None:
                execution.watches.refuse(found[len(execution.values) :])
            return zip(execution.values, found, strict=execution.watches is None)
        read = {source for source, _ in execution.plan.inputs}
        parts = [executable.run({**given, **batch}, deadline=deadline) for batch in execution.unit_vectors.inputs(read)]
        return [
            (block.place, block.assembled([np.asarray(part) for part in found], self.lead))
            for block, found in zip(execution.blocks, zip(*parts, strict=True), strict=True)
        ]


def _put(results: dict[str, Any], place: Place, value: Any) -> None:
    *groups, name = place
    for group in groups:
        results = results.setdefault(group, {})
    results[name] = value
