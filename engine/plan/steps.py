"""From units to steps: the slots that hold values while a plan runs, and the bytes that are alive meanwhile.

A slot is taken again once nobody reads its value any more, at the earliest by the result of the step that reads it
last. Steps therefore name few slots, and what runs them lets go of values by writing others over them.
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
"""What steps call, with what stands behind the arrays."""

Step = tuple[Called, Sequence[int], int | Sequence[int], Sequence[int]]
"""One kernel, `kernel(*arrays, *extra, **params)`, the slots that it reads, those that it writes, and the dead.

A kernel of several results writes a list of slots. The dead are those whose values nobody needs after it, and that are
not written over at once.
"""


@dataclass(frozen=True, slots=True)
class Code:
    """Steps as they are kept: a twentieth of their size, in one piece.

    `numbers` has for each of the `count` steps the place of its kernel, extra and params among `calls`; how many slots
    it reads, and these; how many it writes, 0 for one without a tuple, and these; how many are dead, and these.
    """

    calls: tuple[Called, ...]
    numbers: array[int]
    count: int
    slots: int

    def steps(self) -> Iterator[Step]:
        """Yield the steps as they are run."""
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
    """What becomes a step: a node or a cluster, with the tensors that it reads and gives.

    `workspace` bounds the bytes that its kernel takes besides its results.
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
"""What nobody reads after each unit."""


def ends_of(units: Sequence[Unit], kept: Collection[Tensor]) -> Ends:
    """Return what nobody reads after each unit, unless it is `kept`: inputs, or results that nobody reads at all."""
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
    """Return the steps. `slots` has those of constants and inputs; the others are added."""
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
    """Return the user's op that each step comes from, a cluster's first, or -1; errors name it."""
    origins = [unit.nodes[0].origin for unit in units]
    return array("i", [-1 if origin is None else origin for origin in origins])


def held_by(units: Sequence[Unit], ends: Ends, given: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the bytes that are alive while each unit runs: memory that views share dies with the last of them.

    Whoever runs the plan holds the inputs `given` until it ends. Constants count nothing.
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
    """Return what units cost together: each is a step, so that what stays inside of it is not read or written."""
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
