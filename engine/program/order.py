"""The order of a program's calls: who produces each name, and a topological order. Reports what has none.

`engine.program.trace` uses it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import chain

from engine.errors import MOST_FAULTS, Fault, Path
from engine.hints.suggestions import Suggestions
from engine.program.program import OpCall, Program
from engine.program.references import output_names, references


def producers_of(program: Program, faults: list[Fault]) -> dict[str, int]:
    """Return the index of the call that produces each name; report duplicate names."""
    producers: dict[str, int] = {}
    for index, call in enumerate(program.ops):
        for position, name in enumerate(output_names(call)):
            if name is None:
                continue
            if name in producers or name in program.tensors:
                other = f"op {producers[name]}" if name in producers else "a tensor"
                path: Path = ("graph", "ops", index, "output")
                faults.append(
                    Fault(
                        path if isinstance(call.output, str) else (*path, position),
                        "duplicate_name",
                        f"the name {name!r} is already that of {other}",
                        "Tensors and outputs share one space of names; choose another.",
                    )
                )
            else:
                producers[name] = index
    return producers


def call_order(
    program: Program,
    reads: Sequence[Sequence[str]],
    producers: Mapping[str, int],
    suggestions: Suggestions,
    faults: list[Fault],
) -> Sequence[int]:
    """Return the indices of the calls in topological order; report unknown names and cycles.

    `reads` has the names that each call reads, and `producers` the index of the call that produces each name. Among the
    calls that are ready, the one with the lowest index is first.
    """
    waiting: list[int] = []
    users: dict[int, list[int]] = {}
    given = True
    for index, names in enumerate(reads):
        needs: set[int] = set()
        for name in names:
            if name in producers:
                needs.add(producers[name])
            elif name not in program.tensors:
                _report_unknown(program, producers, index, suggestions, faults)
                break
        given = given and max(needs, default=-1) < index
        waiting.append(len(needs))
        for need in needs:
            users.setdefault(need, []).append(index)
    if given:
        return range(len(program.ops))
    ready = [index for index, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users.get(index, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(order) < len(program.ops):
        faults.append(_cycle(program, producers, set(range(len(program.ops))) - set(order)))
    return order


def _report_unknown(
    program: Program, producers: Mapping[str, int], index: int, suggestions: Suggestions, faults: list[Fault]
) -> None:
    """Report each name that a call reads and that neither a tensor nor an output has."""
    tensors = program.tensors
    for path, ref in references(program.ops[index]):
        if len(faults) >= MOST_FAULTS:
            return
        if ref.name not in producers and ref.name not in tensors:
            near = suggestions.did_you_mean(ref.name, chain(tensors, producers))
            faults.append(_unknown(program.ops[index], ("graph", "ops", index, *path), ref.name, near))


def _unknown(call: OpCall, path: Path, name: str, near: str) -> Fault:
    """Return the fault of a name that neither a tensor nor an output has. `near` is a suggestion, or empty."""
    detail = f"op {path[2]} ({call.op}) uses {name!r}, which is no tensor and no op's output"
    return Fault(path, "unknown_tensor", detail, near or "Add it to tensors, or name an op's output so.")


def _cycle(program: Program, producers: Mapping[str, int], stuck: set[int]) -> Fault:
    """Return the fault of a cycle among `stuck`, the calls that have no place in a topological order."""
    index = min(stuck)
    seen: dict[int, int] = {}
    way: list[tuple[int, str]] = []
    while index not in seen:
        seen[index] = len(way)
        needed = next(ref.name for _, ref in references(program.ops[index]) if producers.get(ref.name) in stuck)
        way.append((index, needed))
        index = producers[needed]
    cycle = way[seen[index] :]
    names = [needed for _, needed in reversed(cycle)]
    first = cycle[0][0]
    return Fault(
        ("graph", "ops", first),
        "cycle",
        f"the ops depend on each other in a cycle: {' -> '.join([*names, names[0]])}",
        "A graph has no cycles: give one of these outputs a name of its own, or unroll the loop.",
    )
