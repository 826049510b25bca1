"""Build the kernel of a cluster: the rows of a block, the rows of each core, and the registers of instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

from engine.execute.numpy.tiles.kernel import Blocked, Instruction
from engine.execute.numpy.tiles.memory import Allocation, held, totals, written_over
from engine.graph.graph import Node, Tensor, Traits
from engine.graph.kernel import Kernel, writes_into
from engine.graph.threads import CORES
from engine.graph.types import Shape, numel
from engine.optimize.cost import flops
from engine.optimize.fuse import Cluster, sliced

WORTH_THREADS = 2**22
"""Minimum number of operations to use threads: below it, starting them costs as much as they save."""

BLOCK = 2**19
"""Bytes of the largest tensor in a block.

A smaller block fits the second-level cache better, but its loops are so short that two threads wait for the interpreter
lock: 16 loops over 2**20 float32 take 2.9 ms on one core in blocks of 2**17 bytes or more; on two cores they take 2.2
ms in blocks of 2**17 bytes, 1.9 ms in blocks of 2**18, and 1.6 ms in blocks of 2**19.
"""

_ALIGNED = 2**6
"""A block of many small rows has a multiple of this number, so that it begins at a vector and cache-line boundary."""


def blocked(cluster: Cluster, needed: Sequence[Tensor], kernel_of: Callable[[Traits], Kernel]) -> Blocked:
    """Return the kernel of a cluster. It returns the results that are `needed` outside the cluster.

    `kernel_of` returns the kernel of a primitive.
    """
    inputs = _inputs(cluster)
    allocation = Allocation(cluster)
    scratch = {node: allocation.take(node, wanted=_in_scratch(node, cluster, needed)) for node in cluster.nodes}
    flat = _flat_shape(cluster)
    length = numel(flat) if flat else cluster.length
    count = min(CORES, length) if sum(map(flops, cluster.nodes)) >= WORTH_THREADS else 1
    rows = _rows(length, count, _fitting(cluster, length))
    shares = _shares(length, rows, count)
    registers = _Registers(cluster, inputs, scratch, needed, len(allocation.kinds))
    return Blocked(
        rows,
        shares,
        tuple(tensor for tensor, _ in inputs),
        tuple(needed),
        tuple(rowwise for _, rowwise in inputs),
        tuple(
            _instruction(node, kernel_of(node.primitive), cluster, registers, allocation, needed, flat is not None)
            for node in cluster.nodes
        ),
        registers.count,
        tuple((() if flat else shape, dtype) for shape, dtype in allocation.kinds),
        tuple(tensor in cluster.totals for tensor in needed),
        flat is not None,
        written_over(cluster, allocation, inputs, needed),
        len(shares) * (held(cluster, allocation) * rows // length + totals(cluster)),
    )


def _inputs(cluster: Cluster) -> tuple[tuple[Tensor, bool], ...]:
    """Return the inputs of a cluster, each with a flag: read row by row."""
    found: dict[tuple[Tensor, bool], None] = {}
    for node in cluster.nodes:
        for tensor in node.inputs:
            if tensor not in cluster.inside:
                found[tensor, sliced(node, tensor, cluster.length)] = None
    return tuple(found)


def _writes(node: Node, cluster: Cluster) -> bool:
    return writes_into(node) and node.outputs[0] not in cluster.totals


def _in_scratch(node: Node, cluster: Cluster, needed: Sequence[Tensor]) -> bool:
    return _writes(node, cluster) and node.outputs[0] not in needed


def _rows(length: int, count: int, most: int) -> int:
    """Return the rows of a block, at most about `most`: `count` shares have equally many blocks of equal size."""
    share = -(-length // count)
    rows = -(-share // -(-share // most))
    return -(-rows // _ALIGNED) * _ALIGNED if rows > _ALIGNED**2 else rows


def _fitting(cluster: Cluster, length: int) -> int:
    """Return the number of rows that fit in a block."""
    widest = max(t.numel * t.dtype.itemsize for node in cluster.nodes for t in _rows_of(node, cluster))
    return max(1, length * BLOCK // max(widest, 1))


def _shares(length: int, rows: int, count: int) -> tuple[tuple[int, int], ...]:
    """Return `count` ranges of whole blocks of rows, or fewer if there are fewer blocks."""
    blocks = -(-length // rows)
    count = min(count, blocks)
    ends = [min(length, blocks * part // count * rows) for part in range(count)]
    return tuple(pairwise([*ends, length]))


def _flat_shape(cluster: Cluster) -> Shape | None:
    """Return the common shape of the tensors in the cluster, if they can be processed as one flat axis; else None."""
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
        if any(tensor.numel != 1 and (tensor.shape != shape or _is_strided(tensor)) for tensor in node.inputs):
            return None
    return shape


def _is_strided(tensor: Tensor) -> bool:
    """Whether a tensor is a view that may not be contiguous: flattening it would copy it."""
    return tensor.node.primitive.view and not tensor.node.primitive.pointwise


def _rows_of(node: Node, cluster: Cluster) -> list[Tensor]:
    """Return the tensors of a node that have the cluster's rows."""
    return [t for t in (*node.inputs, *node.outputs) if t.shape and t.shape[0] == cluster.length]


class _Registers:
    """Register numbers: inputs first, then scratch arrays, result arrays, and values that kernels allocate."""

    def __init__(
        self,
        cluster: Cluster,
        inputs: Sequence[tuple[Tensor, bool]],
        scratch: Mapping[Node, int | None],
        needed: Sequence[Tensor],
        pieces: int,
    ) -> None:
        self._cluster = cluster
        self._inputs = {value: number for number, value in enumerate(inputs)}
        self._results = {tensor: len(inputs) + pieces + place for place, tensor in enumerate(needed)}
        self._inside: dict[Tensor, int] = {}
        self.count = len(inputs) + pieces + len(needed)
        for node in cluster.nodes:
            result, piece = node.outputs[0], scratch[node]
            if piece is not None:
                self._inside[result] = len(inputs) + piece
            elif _writes(node, cluster):
                self._inside[result] = self._results[result]
            else:
                self._inside[result] = self.count
                self.count += 1

    def of(self, tensor: Tensor) -> int:
        """Return the register of a tensor computed in the cluster."""
        return self._inside[tensor]

    def result(self, tensor: Tensor) -> int | None:
        """Return the register of a result array, or None if the tensor is not a result."""
        return self._results.get(tensor)

    def read(self, node: Node) -> tuple[int, ...]:
        """Return the registers of a node's inputs."""
        return tuple(
            [
                self._inside[tensor]
                if tensor in self._inside
                else self._inputs[tensor, sliced(node, tensor, self._cluster.length)]
                for tensor in node.inputs
            ]
        )


def _instruction(
    node: Node,
    kernel: Kernel,
    cluster: Cluster,
    registers: _Registers,
    allocation: Allocation,
    needed: Sequence[Tensor],
    flat: bool,
) -> Instruction:
    result = node.outputs[0]
    is_total = result in cluster.totals
    params, shape = node.params, node.params.get("shape")
    if flat:
        params, shape = _flattened(params)
    writes, read, register = _writes(node, cluster), registers.read(node), registers.of(result)
    ended = [tensor for tensor in dict.fromkeys(node.inputs) if allocation.last_reader(tensor) is node]
    if allocation.last_reader(result) is None and not is_total:
        ended.append(result)
    return Instruction(
        kernel,
        _taking(read),
        writes,
        register,
        params,
        None if shape is None else tuple(shape[1:]),
        None if is_total or writes else registers.result(result),
        needed.index(result) if is_total else None,
        node,
        tuple([registers.of(t) for t in ended if t in cluster.inside and not _writes(t.node, cluster)]),
    )


def _taking(registers: tuple[int, ...]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return a function that selects the values of these registers as a tuple."""
    if len(registers) > 1:
        return itemgetter(*registers)
    return lambda memory: tuple([memory[register] for register in registers])


def _flattened(params: Mapping[str, Any]) -> tuple[dict[str, Any], Shape | None]:
    """Return a node's parameters for one flat axis, and its shape parameter or None."""
    over = {"dims": (-1,), "keepdim": False} if "dims" in params else {}
    return {**params, **over}, (0,) if "shape" in params else None
