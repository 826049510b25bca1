"""The kernel of a cluster: each core runs a range of rows, block by block, and each block instruction by instruction.

Between two NumPy loops a thread holds the interpreter lock, and other threads may wait for it. Waking a thread takes as
long as a loop over 100,000 numbers. Instructions therefore do little work under the lock: their operands are in
registers, which are arrays or views created once for each block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor
from engine.graph.threads import shared

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One node in a block: `take` selects the registers that it reads, and `register` holds its value.

    If it `writes`, its kernel writes into the array in `register`. Other kernels allocate their value: `result` is the
    register of the result array to copy it to, `total` the index of the result if it is a sum over blocks, and `dead`
    the registers that have no later reader. `shape` is the parameter `shape` without the rows, which differ in the last
    block.
    """

    kernel: Any
    take: Callable[[Sequence[Any]], tuple[Any, ...]]
    writes: bool
    register: int
    params: Mapping[str, Any]
    shape: tuple[int, ...] | None
    result: int | None
    total: int | None
    node: Node
    dead: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Blocked:
    """The kernel of a cluster: it takes the inputs and returns the results in the order of `outputs`.

    A block has `rows` rows. `shares` are the ranges of rows that cores run in parallel. They do not depend on the
    number of idle cores, so that sums over blocks are equal under load. `over` has pairs of a result index and an input
    index: the result may overwrite the input, because each input row has its last read before or while the result row
    is written.

    Registers hold the inputs, the `scratch` arrays, the result arrays, and then the values that kernels allocate.
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
        """Return the results: row-wise arrays, and totals summed over blocks.

        `free` has the indices of inputs that may be overwritten, if `over` has them.
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
        """Run a range of rows, block by block. Return the totals at their result index, and None for other results."""
        scratch = [np.empty((self.rows, *shape), dtype) for shape, dtype in self.scratch]
        own = [None] * (self.registers - len(arrays) - len(scratch) - len(places))
        sums: list[Any] = [None] * len(places)
        with np.errstate(all="ignore"):
            for first in range(start, stop, self.rows):
                last = min(first + self.rows, stop)
                memory: list[Any] = [
                    array[first:last] if rowwise else array for array, rowwise in zip(arrays, self.sliced, strict=True)
                ]
                memory += scratch if last - first == self.rows else [array[: last - first] for array in scratch]
                memory += [None if array is None else array[first:last] for array in places]
                self._block(memory + own, sums, last - first)
        return sums

    def _block(self, memory: list[Any], sums: list[Any], rows: int) -> None:
        """Run a block on the registers `memory`."""
        for step in self.instructions:
            if step.writes:
                step.kernel(*step.take(memory), out=memory[step.register])
                continue
            params = step.params if step.shape is None else {**step.params, "shape": (rows, *step.shape)}
            try:
                value = step.kernel(*step.take(memory), **params)
            except OpError as error:
                error.node = step.node
                raise
            if step.total is not None:
                known = sums[step.total]
                sums[step.total] = value if known is None else known + value
                continue
            memory[step.register] = value
            if step.result is not None:
                memory[step.result][...] = value
            del value  # `memory` references it until its last read
            for register in step.dead:
                memory[register] = None
