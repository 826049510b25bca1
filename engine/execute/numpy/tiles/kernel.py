"""How a cluster runs: the range of rows of each core, block by block, and each block instruction by instruction.

Between two of NumPy's loops a thread needs the interpreter's lock. What it does while it holds it is what others may
have to wait for, and to wake a thread up takes as long as a loop over a hundred thousand numbers: so an instruction
has its operands in registers, which are memory for the whole block or views made once for it.
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
    """One node inside a block: it reads the registers that `take` takes, and its value stands in `register`.

    If it `writes`, the register has the memory for its value. Other kernels have memory of their own: values in `dead`
    nobody reads after it, `result` is where a copy belongs, `total` the place among results that are sums over blocks.
    `shape` is the parameter of that name behind the rows, which differ in the last block.
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
    """The kernel of a cluster: called with its inputs, returns its results, in the order of `outputs`.

    `rows` of its `length` go through it at once. `shares` are the ranges of rows that cores run beside each other: they
    do not depend on how many cores are free, so that sums over blocks are the same under load. `over` pairs places: a
    result may be written over an input whose rows are read for the last time before, or while, those are written.

    Registers hold the inputs, the `scratch` memory, the results' memory, and then values with memory of their own.
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
        """Run a block whose registers are `memory`."""
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
            del value  # it is in memory for as long as somebody reads it
            for register in step.dead:
                memory[register] = None
