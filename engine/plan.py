"""From wanted tensors to a flat list of steps: what runs in which order, from and into which slots, what dies when.

A plan holds no values but constants, so that it can be kept and run many times, by several threads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.autodiff.reverse import ancestors
from engine.graph import Node, Tensor
from engine.op import CONSTANT, LEAF, Kernel

Source = tuple[str, str]
"""What a leaf is read from: the request's member and the name in it, such as ("tensors", "w")."""


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel with the slots it reads and writes, and those that nobody needs after it.

    `results` is one slot, or a tuple of them for a kernel of several results. `node` is what it computes: errors and
    checks name its origin.
    """

    kernel: Kernel
    args: tuple[int, ...]
    results: int | tuple[int, ...]
    dead: tuple[int, ...]
    node: Node


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps, the slots of inputs and outputs, and the memory as it is at the start: constants, else None.

    `peak_bytes` bounds what the run holds at once, inputs included; views are counted as copies where they may be.
    """

    steps: tuple[Step, ...]
    inputs: tuple[tuple[Source, int], ...]
    outputs: tuple[int, ...]
    memory: tuple[Any, ...]
    peak_bytes: int


def plan(wanted: Sequence[Tensor]) -> Plan:
    """Return the plan that computes `wanted`, in their order."""
    order = ancestors(wanted)
    slots: dict[Tensor, int] = {tensor: slot for slot, tensor in enumerate(t for node in order for t in node.outputs)}
    memory: list[Any] = [None] * len(slots)
    inputs: list[tuple[Source, int]] = []
    running: list[Node] = []
    for node in order:
        if node.primitive is LEAF:
            inputs.append((node.params["source"], slots[node.outputs[0]]))
        elif node.primitive is CONSTANT:
            memory[slots[node.outputs[0]]] = node.primitive.bind(node.params)()
        else:
            running.append(node)
    dying, peak = _liveness(order, running, set(wanted))
    steps = tuple(
        Step(
            node.primitive.bind(node.params),
            tuple([slots[tensor] for tensor in node.inputs]),
            tuple([slots[tensor] for tensor in node.outputs]) if node.primitive.several else slots[node.outputs[0]],
            tuple([slots[tensor] for tensor in dead]),
            node,
        )
        for node, dead in zip(running, dying, strict=True)
    )
    return Plan(steps, tuple(inputs), tuple(slots[tensor] for tensor in wanted), tuple(memory), peak)


def _liveness(order: Sequence[Node], running: Sequence[Node], kept: set[Tensor]) -> tuple[list[list[Tensor]], int]:
    """Return what dies after each running node, and the peak of the bytes alive."""
    seen = set(kept)
    dying: list[list[Tensor]] = []
    for node in reversed(running):
        last = dict.fromkeys(tensor for tensor in (*node.inputs, *node.outputs) if tensor not in seen)
        seen.update(last)
        dying.append(list(last))
    dying.reverse()
    return dying, _peak(order, dict(zip(running, dying, strict=True)))


def _peak(order: Sequence[Node], dying: dict[Node, list[Tensor]]) -> int:
    """Return the most bytes that are alive at once: memory that views share dies with the last of them."""
    storage: dict[Tensor, Tensor] = {}
    users: dict[Tensor, int] = {}
    alive = peak = 0
    for node in order:
        for tensor in node.outputs:
            shares = node.primitive.view and not node.primitive.may_copy
            storage[tensor] = base = storage[node.inputs[0]] if shares else tensor
            users[base] = users.get(base, 0) + 1
            alive += 0 if shares else tensor.numel * tensor.dtype.itemsize
        peak = max(peak, alive)
        for tensor in dying.get(node, ()):
            base = storage[tensor]
            users[base] -= 1
            if not users[base]:
                alive -= base.numel * base.dtype.itemsize
    return peak
