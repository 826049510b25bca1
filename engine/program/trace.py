"""Trace of a program to a typed graph: types every op in the order of the calls.

`engine.program.order` orders the calls, `engine.program.binding` binds their arguments.

All faults are collected and raised together. A call that depends on a faulty call is not traced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import MOST_FAULTS, Fault, GraphError, OpError, Path
from engine.graph.graph import Builder, Tensor, building, check_elements
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY, Op
from engine.graph.promotion import leaf
from engine.graph.signature import offered_dtype
from engine.graph.types import float64
from engine.hints import names as hints
from engine.hints.suggestions import Suggestions
from engine.ops.autograd import detached, marked
from engine.program.binding import Binding, plain_arguments
from engine.program.order import call_order, producers_of
from engine.program.program import Leaf, OpCall, Program
from engine.program.references import names_read, output_names


@dataclass(frozen=True, slots=True)
class TracedCall:
    """A call of an op after its trace. `index` is its position in the program.

    `arguments` maps parameters to bound arguments. `results` has a tensor for each of `names`; a name may be None.
    """

    index: int
    call: OpCall
    op: Op
    arguments: Mapping[str, Any]
    names: tuple[str | None, ...]
    results: tuple[Tensor, ...]

    @property
    def described(self) -> str:
        """The op's name and the names of its outputs."""
        return f"{self.op.name} {', '.join(repr(name) for name in self.names if name is not None)}".rstrip()


@dataclass(slots=True)
class Trace:
    """A typed program: its builder, every named tensor, and the calls in the order of their execution.

    `targets` contains the names of results to differentiate by.
    """

    program: Program
    limits: Limits
    builder: Builder
    targets: frozenset[str] = frozenset()
    names: dict[str, Tensor] = field(default_factory=dict)
    calls: list[TracedCall] = field(default_factory=list)
    reads: list[list[str]] = field(default_factory=list)
    """The names that each call of the program reads."""
    suggestions: Suggestions = field(default_factory=Suggestions)

    def check_elements(self, results: Iterable[Tensor]) -> None:
        """Raise OpError if a named result has more elements than the limit. Views count as well."""
        for result in results:
            if result.numel > self.limits.elements:
                check_elements(result.shape, self.limits.elements)

    def notices(self) -> tuple[str, ...]:
        """Return the warnings of ops about their arguments. Each begins with the names of the op and its outputs."""
        calls = {call.index: call for call in self.calls}
        listed = self.builder.notices[:MOST_FAULTS]
        texts = [f"{calls[index].described}: {text}" for index, text in listed if index in calls]
        return tuple(dict.fromkeys(texts))

    def unconsumed(self) -> list[str]:
        """Return the names of the outputs that no op consumes, in order."""
        consumed = {name for names in self.reads for name in names}
        return [name for traced in self.calls for name in traced.names if name is not None and name not in consumed]


def trace(
    program: Program, limits: Limits, targets: frozenset[str] = frozenset(), deadline: float | None = None
) -> Trace:
    """Return the typed program. Raises GraphError with all faults, and DeadlineExceeded.

    `targets` contains the names of results to differentiate by. A target is never merged with an equal tensor.
    `deadline` is a moment of `time.monotonic()`.
    """
    faults: list[Fault] = []
    default = program.dtype if program.dtype.is_floating else float64
    traced = Trace(program, limits, Builder(limits, default, deadline), targets)
    with building(traced.builder):
        for name, given in program.tensors.items():
            _trace_leaf(traced, name, given, faults)
        producers = producers_of(program, faults)
        traced.reads = list(map(names_read, program.ops))
        order = call_order(program, traced.reads, producers, traced.suggestions, faults)
        for index in order:
            if len(faults) >= MOST_FAULTS:
                break
            _trace_call(traced, index, faults)
    if faults:
        raise GraphError(faults)
    return traced


def _trace_leaf(traced: Trace, name: str, given: Leaf, faults: list[Fault]) -> None:
    path: Path = ("graph", "tensors", name)
    if given.requires_grad and not given.dtype.is_differentiable:
        faults.append(
            Fault(
                (*path, "requires_grad"),
                "not_differentiable",
                f"a tensor of dtype {given.dtype} cannot require grad",
                "Give it a floating dtype, or leave requires_grad out.",
            )
        )
    try:
        offered_dtype(given.dtype)
        traced.names[name] = leaf(("tensors", name), given.dtype, given.shape, given.requires_grad)
    except OpError as error:
        faults.append(Fault(path, error.code, error.detail, error.hint))


def _trace_call(traced: Trace, index: int, faults: list[Fault]) -> None:
    call = traced.program.ops[index]
    path: Path = ("graph", "ops", index)
    op = REGISTRY.get(call.op)
    if op is None:
        hint = hints.of_op(call.op, REGISTRY, traced.suggestions)
        faults.append(Fault((*path, "op"), "unknown_op", f"there is no op {call.op!r}", hint))
        return
    if faults and any(name not in traced.names for name in traced.reads[index]):
        return  # an input is faulty, and its fault is already reported
    arguments = plain_arguments(traced.names, op, call)
    if arguments is None:
        binding = Binding(traced.names, op, call, path, traced.suggestions)
        arguments = binding.bind()
        if binding.faults:
            faults.extend(binding.faults)
            return
    traced.builder.origin = index
    try:
        positional, named = op.signature.call(arguments)
        made = op.function(*positional, **named)
        results = tuple(made) if isinstance(made, tuple | list) else (made,)
        traced.check_elements(results)
        if call.no_grad:
            results = tuple(map(detached, results))
        names = _named(call, isinstance(made, tuple | list), len(results))
        if traced.targets:
            results = tuple(
                marked(result, name) if name in traced.targets else result
                for name, result in zip(names, results, strict=True)
            )
    except OpError as error:
        place = (*path, *Binding(traced.names, op, call, path, traced.suggestions).place(error.argument))
        faults.append(Fault(place, error.code, f"{call.op}: {error.detail}", error.hint))
        return
    finally:
        traced.builder.origin = None
    for name, result in zip(names, results, strict=True):
        if name is not None:
            traced.names[name] = result
    traced.calls.append(TracedCall(index, call, op, arguments, names, results))


def _named(call: OpCall, several: bool, count: int) -> tuple[str | None, ...]:
    """Return the names of a call's results. Raises OpError if the number of names is not the number of results."""
    names = output_names(call)
    if several and isinstance(call.output, str):
        raise OpError(
            "output_count",
            f"the op has {count} results, and output is one name",
            f"Give output a list of {count} names; null skips one.",
            "output",
        )
    if len(names) != count:
        raise OpError(
            "output_count",
            f"the op has {count} {'results' if count != 1 else 'result'}, and output names {len(names)}",
            f"Give output {'a list of ' if several else ''}{count} {'names; null skips one' if several else 'name'}.",
            "output",
        )
    return names
