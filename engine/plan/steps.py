"""Compile units to steps: assign slots, and compute the bytes in use. Used by the NumPy lowering and runner.

A slot is reused after the last read of its value, at the earliest by the result of the step that reads it last. Steps
therefore use few slots, and the runner releases most values by overwriting their slots.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.graph.graph import Node, Tensor
from engine.graph.kernel import Kernel
from engine.graph.traits import size
from engine.optimize.cost import Cost, effort, flops, stored_size

Called = tuple[Kernel, tuple[Any, ...], Mapping[str, Any]]
"""A kernel, its positional arguments after the arrays, and its keyword arguments."""

Step = tuple[Called, Sequence[int], int | Sequence[int], Sequence[int]]
"""One kernel call, `kernel(*arrays, *extra, **params)`: the call, the slots read, the slots written, the dead slots.

A kernel with several results writes a list of slots. Dead slots have values with no later reader and are not
overwritten by this step.
"""


@dataclass(frozen=True, slots=True)
class Code:
    """Encoded steps: one array of integers, a twentieth of the size of the decoded steps.

    For each of the `count` steps, `numbers` has: the index of its call in `calls`; the number of slots read, and these
    slots; the number of slots written (0 for a single result without a tuple), and these slots; the number of dead
    slots, and these slots.
    """

    calls: tuple[Called, ...]
    numbers: array[int]
    count: int
    slots: int

    def steps(self) -> Iterator[Step]:
        """Yield the decoded steps in execution order."""
        calls, numbers = self.calls, self.numbers.tolist()
        at = 0
        for _ in range(self.count):
            call, reads = numbers[at], numbers[at + 1]
            end = at + 2 + reads
            args, writes = numbers[at + 2 : end], numbers[end]
            at = end + 1 + (writes or 1)
            results = numbers[end + 1 : at] if writes else numbers[end + 1]
            dead = numbers[at]
            yield calls[call], args, results, numbers[at + 1 : at + 1 + dead] if dead else ()
            at += 1 + dead


class Unit(NamedTuple):
    """A node, cluster or pair that becomes one step, with its input and output tensors.

    `workspace` is an upper bound on the bytes that its kernel allocates, results excluded.
    """

    kernel: Kernel
    extra: tuple[Any, ...]
    params: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    several: bool
    view: bool
    workspace: int
    nodes: tuple[Node, ...]


Ends = list[Sequence[Tensor]]
"""Tensors whose last reader is each unit."""


def ends_of(units: Sequence[Unit], kept: Collection[Tensor]) -> Ends:
    """Return the tensors that have no reader after each unit, `kept` tensors excluded: inputs, and unread results."""
    last: dict[Tensor, int] = {}
    for number, unit in enumerate(units):
        for tensor in unit.inputs:
            last[tensor] = number
        if unit.several:
            for tensor in unit.outputs:
                last[tensor] = number
    ending: dict[int, list[Tensor]] = {}
    for tensor, number in last.items():
        if tensor not in kept:
            ending.setdefault(number, []).append(tensor)
    return [ending.get(number, ()) for number in range(len(units))]


def code_of(units: Sequence[Unit], slots: dict[Tensor, int], ends: Ends) -> Code:
    """Return the encoded steps. `slots` has the slots of constants and inputs; the other slots are added to it."""
    calls: dict[tuple[int, int, int], tuple[int, Called]] = {}
    numbers: list[int] = []
    free: list[int] = []
    count = len(slots)
    for (kernel, extra, params, inputs, outputs, several, *_), last in zip(units, ends, strict=True):
        known = calls.setdefault((id(kernel), id(extra), id(params)), (len(calls), (kernel, extra, params)))
        numbers += (known[0], len(inputs), *[slots[tensor] for tensor in inputs], len(outputs) if several else 0)
        dead = [slots[tensor] for tensor in last if tensor in slots] if last else []
        for tensor in outputs:
            if dead:
                slot = dead.pop()
            elif free:
                slot = free.pop()
            else:
                slot, count = count, count + 1
            slots[tensor] = slot
            numbers.append(slot)
        if several:
            unread = set(last)
            dead += [slots[tensor] for tensor in outputs if tensor in unread]
        numbers += (len(dead), *dead)
        free += dead
    return Code(tuple([called for _, called in calls.values()]), array("i", numbers), len(units), count)


def origins_of(units: Sequence[Unit]) -> array[int]:
    """Return the index of the user's op for each step (of the first node of a cluster), or -1. Errors name this op."""
    origins = [unit.nodes[0].origin for unit in units]
    return array("i", [-1 if origin is None else origin for origin in origins])


def held_by(units: Sequence[Unit], ends: Ends, given: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the bytes in use while each unit runs. Memory shared by views is in use until the last view is dead.

    The inputs `given` stay in use until the plan ends. Constants do not count.
    """
    owner: dict[Tensor, Tensor] = {}
    holders = dict.fromkeys(given, 2)
    alive = sum(map(size, given))
    held = []
    for unit, last in zip(units, ends, strict=True):
        for tensor in unit.outputs:
            if unit.view:
                base = owner[tensor] = owner.get(unit.inputs[0], unit.inputs[0])
                holders[base] = holders.get(base, 1) + 1
            else:
                alive += tensor.numel * tensor.dtype.itemsize
        held.append(alive + unit.workspace)
        for tensor in last:
            base = owner.get(tensor, tensor)
            left = holders.get(base, 1) - 1
            if left:
                holders[base] = left
            else:
                alive -= base.numel * base.dtype.itemsize
    return tuple(held)


def cost_of(units: Sequence[Unit]) -> Cost:
    """Return the total cost of the units: tensors inside a unit are not read or written."""
    work = time = read = written = 0
    for unit in units:
        for node in unit.nodes:
            work += flops(node)
            time += effort(node)
        if not unit.view:
            for tensor in unit.inputs:
                read += stored_size(tensor)
            for tensor in unit.outputs:
                written += tensor.numel * tensor.dtype.itemsize
    return Cost(work, read, written, time)
