"""How long planning a request is likely to take, from the size of its structure alone. The unit is an op's planning.

`app.evaluation.structure` computes it before a structure is read, so that `app.workers.dispatch` keeps long planning
off the event loop.
"""

from __future__ import annotations

from typing import Any

from app.schemas.graph import GraphForm

OP_ITEMS = 4
"""Names and numbers that an op has in most requests: its own name, two operands and its result."""

ITEMS_PER_OP = 6
"""Further names and numbers that take as long as an op: results, operands, tensors, and names of `wrt` or `vmap`."""


def planning_work(ops: int, items: int) -> float:
    """Return the planning work of a structure of so many ops and so many names and numbers, in ops.

    Measured for each further item: 5 us for a result that nothing reads, 17 us for a tensor, 20 to 45 us for an operand
    of `cat` or a name in `wrt`, `accumulate` or `vmap`.
    """
    return ops + max(0, items - OP_ITEMS * ops) / ITEMS_PER_OP


def scalars(tree: Any) -> int:
    """Return how many leaves a tree of lists and objects has."""
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
    """Return how many names and numbers the ops and tensors of a graph have."""
    calls = ([call.op, *_arguments(call.inputs), *call.attributes.values(), call.output] for call in graph.ops)
    return sum(map(scalars, calls)) + len(graph.tensors)


def _arguments(inputs: Any) -> Any:
    return inputs if isinstance(inputs, tuple) else inputs.values()
