"""A cluster as one kernel: blocks of rows go through all of its nodes, in scratch memory that stays in cache.

NumPy's loops are at the speed of the memory that they read and write. With blocks of this size that memory is cache.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from engine.cores import CORES, shared
from engine.cost import flops, size, workspace
from engine.errors import OpError
from engine.graph import Node, Tensor
from engine.optimize.fuse import Cluster, sliced
from engine.types import Shape, numel

Array = np.ndarray[Any, Any]

WORTH_THREADS = 2**22
"""Operations above which threads are a gain: below it, handing work over costs as much as it saves."""

BLOCK = 2**19
"""Bytes of the largest tensor in a block.

Fewer would fit the second-level cache better, but two threads then wait for the interpreter's lock between loops that
are too short: 2**20 float32 through 16 loops take 2.9 ms on one core in blocks of 2**17 bytes or more, and on two cores
3.5 ms in blocks of 2**16 bytes, 2.1 ms of 2**17, 1.7 ms of 2**18, 1.4 ms of 2**19.
"""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One node inside a block.

    It reads registers and writes one; those in `dead` nobody reads after it. A ufunc writes into `scratch` (an index)
    or, where that is None, into a result. `shape` is the parameter of that name behind the rows, which differ in the
    last block.
    """

    kernel: Any
    args: tuple[int, ...]
    register: int
    params: Mapping[str, Any]
    shape: tuple[int, ...] | None
    ufunc: bool
    scratch: int | None
    result: int | None
    total: int | None
    node: Node
    dead: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """The kernel of a cluster: called with its inputs, returns its results, in the order of `outputs`.

    `rows` of its `length` go through it at once. `shares` are the ranges of rows that cores run beside each other: they
    do not depend on how many cores are free, so that sums over blocks are the same under load. `over` pairs places: a
    result may be written over an input whose rows are read for the last time before, or while, those are written.
    """

    rows: int
    shares: tuple[tuple[int, int], ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sliced: tuple[bool, ...]
    instructions: tuple[Instruction, ...]
    registers: int
    scratch: tuple[tuple[tuple[int, ...], Any], ...]
    totals: tuple[bool, ...]
    flat: bool
    over: tuple[tuple[int, int], ...]
    workspace: int

    def __call__(self, *arrays: Array, free: Collection[int] = ()) -> tuple[Array, ...]:
        """Return the results: arrays, and totals of the blocks' sums.

        Of the arrays, those at places in `free` may be written over, where `over` has them.
        """
        results: list[Any] = [None] * len(self.outputs)
        for place, source in self.over:
            if source in free:
                results[place] = arrays[source]
        for place, tensor in enumerate(self.outputs):
            if results[place] is None and not self.totals[place]:
                results[place] = np.empty(tensor.shape, tensor.dtype.numpy)
        places = results
        if self.flat:
            arrays = tuple([a.reshape(-1 if rowwise else ()) for a, rowwise in zip(arrays, self.sliced, strict=True)])
            places = [None if array is None else array.reshape(-1) for array in results]
        parts = shared(self._run, [(arrays, places, start, stop) for start, stop in self.shares])
        return tuple(
            [
                np.reshape(functools.reduce(np.add, totals), tensor.shape) if array is None else array
                for array, totals, tensor in zip(results, zip(*parts, strict=True), self.outputs, strict=True)
            ]
        )

    def _run(self, arrays: Sequence[Array], places: Sequence[Any], start: int, stop: int) -> list[Any]:
        """Run a range of rows, block by block. Return the totals, in the places of results that are none."""
        results = list(places)
        scratch = [np.empty((self.rows, *shape), dtype) for shape, dtype in self.scratch]
        with np.errstate(all="ignore"):
            for first in range(start, stop, self.rows):
                self._block(arrays, results, scratch, first, min(first + self.rows, stop))
        return results

    def _block(
        self, arrays: Sequence[Array], results: list[Any], scratch: Sequence[Array], start: int, stop: int
    ) -> None:
        memory: list[Any] = [
            array[start:stop] if rowwise else array for array, rowwise in zip(arrays, self.sliced, strict=True)
        ]
        memory.extend([None] * (self.registers - len(memory)))
        for step in self.instructions:
            args = [memory[register] for register in step.args]
            if step.ufunc:
                memory[step.register] = step.kernel(*args, out=_target(step, results, scratch, start, stop))
            else:
                memory[step.register] = _computed(step, args, results, start, stop)
            for register in step.dead:
                memory[register] = None


def _computed(step: Instruction, args: Sequence[Array], results: list[Any], start: int, stop: int) -> Any:
    """Return what a kernel that has memory of its own gives for a block, put among the results if it is one."""
    params = step.params if step.shape is None else {**step.params, "shape": (stop - start, *step.shape)}
    try:
        value = step.kernel(*args, **params)
    except OpError as error:
        error.node = step.node
        raise
    if step.total is not None:
        known = results[step.total]
        results[step.total] = value if known is None else known + value
    elif step.result is not None:
        results[step.result][start:stop] = value
    return value


def _target(step: Instruction, results: Sequence[Any], scratch: Sequence[Array], start: int, stop: int) -> Array:
    """Return the memory that a ufunc writes a block to."""
    if step.scratch is not None:
        return scratch[step.scratch][: stop - start]
    rows: Array = results[step.result or 0][start:stop]
    return rows


def blocked(cluster: Cluster, needed: Sequence[Tensor]) -> Blocked:
    """Return the kernel of a cluster that gives the results that are `needed` outside of it."""
    registers: dict[tuple[Tensor, bool], int] = {}
    for node in cluster.nodes:
        for tensor in node.inputs:
            if tensor not in cluster.inside:
                registers.setdefault((tensor, sliced(node, tensor, cluster.length)), len(registers))
    inputs = tuple(registers)
    for node in cluster.nodes:
        registers[node.outputs[0], True] = len(registers)
    allocation = _Allocation(cluster)
    flat = _flat_shape(cluster)
    length = numel(flat) if flat else cluster.length
    count = min(CORES, length) if sum(map(flops, cluster.nodes)) >= WORTH_THREADS else 1
    rows = min(_fitting(cluster, length), -(-length // count))
    shares = _shares(length, rows, count)
    return Blocked(
        rows,
        shares,
        tuple(tensor for tensor, _ in inputs),
        tuple(needed),
        tuple(rowwise for _, rowwise in inputs),
        tuple(_instruction(node, cluster, registers, allocation, needed, flat is not None) for node in cluster.nodes),
        len(registers),
        tuple((() if flat else shape, dtype) for shape, dtype in allocation.kinds),
        tuple(tensor in cluster.totals for tensor in needed),
        flat is not None,
        _over(cluster, allocation, inputs, needed),
        len(shares) * (_held(cluster, allocation) * rows // length + _totals(cluster)),
    )


def _over(
    cluster: Cluster, allocation: _Allocation, inputs: Sequence[tuple[Tensor, bool]], needed: Sequence[Tensor]
) -> tuple[tuple[int, int], ...]:
    """Return pairs of places: a result, and an input of its type that nothing reads behind the result's row."""
    order = {node: number for number, node in enumerate(cluster.nodes)}
    whole = {tensor for tensor, rowwise in inputs if not rowwise}
    sources = {place: tensor for place, (tensor, rowwise) in enumerate(inputs) if rowwise and tensor not in whole}
    pairs = []
    for place, result in enumerate(needed):
        if result in cluster.totals:
            continue
        for source, tensor in sources.items():
            same = tensor.shape == result.shape and tensor.dtype is result.dtype
            if same and order[allocation.last(tensor)] <= order[result.node]:
                pairs.append((place, source))
                del sources[source]
                break
    return tuple(pairs)


def _held(cluster: Cluster, allocation: _Allocation) -> int:
    """Return a bound on the bytes that scratch and kernels would take for all rows at once."""
    alive = sum([cluster.length * numel(shape) * int(dtype.itemsize) for shape, dtype in allocation.kinds])
    most = alive
    for node in cluster.nodes:
        result = node.outputs[0]
        own = allocation.owns(node) and result not in cluster.totals
        alive += size(result) if own else 0
        most = max(most, alive + workspace(node))
        alive -= sum(size(tensor) for tensor in allocation.dying(node))
    return most


def _totals(cluster: Cluster) -> int:
    """Return the bytes of sums over the rows while a block's are added to those before it."""
    return 2 * sum(map(size, cluster.totals))


def _fitting(cluster: Cluster, length: int) -> int:
    """Return as many rows as fit a block."""
    widest = max(t.numel * t.dtype.itemsize for node in cluster.nodes for t in _rows_of(node, cluster))
    return max(1, length * BLOCK // max(widest, 1))


def _shares(length: int, rows: int, count: int) -> tuple[tuple[int, int], ...]:
    """Return `count` ranges of whole blocks of rows, or as many as there are blocks."""
    blocks = -(-length // rows)
    count = min(count, blocks)
    ends = [min(length, blocks * part // count * rows) for part in range(count)]
    return tuple(pairwise([*ends, length]))


def _flat_shape(cluster: Cluster) -> Shape | None:
    """Return the shape that everything in the cluster has, if its elements can be run over as one axis."""
    shapes = {tensor.shape for tensor in cluster.inside}
    if len(shapes) != 1:
        return None
    shape = shapes.pop()
    rank = len(shape)
    for node in cluster.nodes:
        if node.outputs[0] in cluster.totals:
            if len(node.params["dims"]) < rank or node.inputs[0].shape != shape:
                return None
        elif node.primitive.kind != "elementwise" and not node.primitive.pointwise:
            return None
        if any(tensor.shape != shape and tensor.numel != 1 for tensor in node.inputs):
            return None
    return shape


def _rows_of(node: Node, cluster: Cluster) -> list[Tensor]:
    """Return the tensors of a node that have the cluster's rows."""
    return [t for t in (*node.inputs, *node.outputs) if t.shape and t.shape[0] == cluster.length]


def _instruction(
    node: Node,
    cluster: Cluster,
    registers: Mapping[tuple[Tensor, bool], int],
    allocation: _Allocation,
    needed: Sequence[Tensor],
    flat: bool,
) -> Instruction:
    result = node.outputs[0]
    place = list(needed).index(result) if result in needed else None
    is_total = result in cluster.totals
    ufunc = isinstance(node.primitive.run, np.ufunc) and not is_total
    params, shape = node.params, node.params.get("shape")
    if flat:
        params, shape = _flattened(params)
    read = {
        tensor: registers[tensor, tensor in cluster.inside or sliced(node, tensor, cluster.length)]
        for tensor in node.inputs
    }
    return Instruction(
        node.primitive.run,
        tuple(map(read.__getitem__, node.inputs)),
        registers[result, True],
        params,
        None if shape is None else tuple(shape[1:]),
        ufunc,
        allocation.take(node, wanted=ufunc and place is None),
        None if is_total else place,
        place if is_total else None,
        node,
        tuple(register for tensor, register in read.items() if allocation.last_reader(tensor) is node),
    )


def _flattened(params: Mapping[str, Any]) -> tuple[dict[str, Any], Shape | None]:
    """Return a node's parameters as they are over one axis of all elements."""
    over = {"dims": (-1,), "keepdim": False} if "dims" in params else {}
    return {**params, **over}, (0,) if "shape" in params else None


class _Allocation:
    """Scratch arrays for the ufuncs of a cluster: one is taken again when the last reader of its value has run.

    A ufunc may write over an operand of its own that dies with it. Views keep what they look at.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.kinds: list[tuple[tuple[int, ...], Any]] = []
        self._free: dict[tuple[tuple[int, ...], Any], list[int]] = {}
        self._held: dict[Tensor, int] = {}
        self._base: dict[Tensor, Tensor] = {}
        self._last: dict[Tensor, Node] = {}
        self._reader: dict[Tensor, Node] = {}
        self._ends: dict[Node, list[Tensor]] = {}
        for node in cluster.nodes:
            result = node.outputs[0]
            self._base[result] = self._root(node.inputs[0]) if node.primitive.view else result
            self._last[self._root(result)] = node
            for tensor in node.inputs:
                self._last[self._root(tensor)] = self._reader[tensor] = node
        for tensor, node in self._last.items():
            if tensor in cluster.inside and self.owns(tensor.node):
                self._ends.setdefault(node, []).append(tensor)

    def _root(self, tensor: Tensor) -> Tensor:
        return self._base.get(tensor, tensor)

    def last(self, tensor: Tensor) -> Node:
        """Return the last node that reads a tensor or a view of it."""
        return self._last[tensor]

    def last_reader(self, tensor: Tensor) -> Node | None:
        """Return the last node that reads a tensor itself."""
        return self._reader.get(tensor)

    def owns(self, node: Node) -> bool:
        """Whether a node's kernel makes memory for its result."""
        return not (node.primitive.view or isinstance(node.primitive.run, np.ufunc))

    def dying(self, node: Node) -> list[Tensor]:
        """Return the results with memory of their own that nothing looks at any more behind a node."""
        return self._ends.get(node, [])

    def take(self, node: Node, *, wanted: bool) -> int | None:
        """Let go of what a node reads last. Return the scratch array for its result, if one is wanted."""
        self._let_go(node)
        if not wanted:
            return None
        result = node.outputs[0]
        kind = (result.shape[1:], result.dtype.numpy)
        free = self._free.setdefault(kind, [])
        if not free:
            free.append(len(self.kinds))
            self.kinds.append(kind)
        self._held[result] = number = free.pop()
        return number

    def _let_go(self, node: Node) -> None:
        for tensor in dict.fromkeys(map(self._root, node.inputs)):
            if self._last.get(tensor) is node and tensor in self._held:
                number = self._held.pop(tensor)
                self._free.setdefault(self.kinds[number], []).append(number)
