"""Predicted planning time of a request, from the size of its structure alone. The unit is the planning of one op.

`app.evaluation.structure` computes the prediction before a structure is read. `app.workers.dispatch` keeps long
planning off the event loop by it.
"""

from __future__ import annotations

from typing import Any

from app.schemas.graph import GraphForm

OP_ITEMS = 4
"""Names and numbers that a typical op has: its name, two operands and its result."""

ITEMS_PER_OP = 6
"""Additional names and numbers that take as long as one op: results, operands, tensors, names of `wrt`, `vmap`."""


def planning_work(ops: int, items: int) -> float:
    """Return the planning work, in ops, of a structure of `ops` ops and `items` names and numbers.

    Measured per additional item: 5 us for a result without a reader, 17 us for a tensor, 20 to 45 us for an operand of
    `cat` or a name in `wrt`, `accumulate` or `vmap`.
    """
    return ops + max(0, items - OP_ITEMS * ops) / ITEMS_PER_OP


def scalars(tree: Any) -> int:
    """Return the number of leaves of a tree of lists and objects."""
    count = 0
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list | tuple):
            stack += item
        else:
            count += 1
    return count


def graph_items(graph: GraphForm) -> int:
    """Return the number of names and numbers in the ops and tensors of a graph."""
    calls = ([call.op, *_arguments(call.inputs), *call.attributes.values(), call.output] for call in graph.ops)
    return sum(map(scalars, calls)) + len(graph.tensors)


def _arguments(inputs: Any) -> Any:
    return inputs if isinstance(inputs, tuple) else inputs.values()
