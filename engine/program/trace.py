"""Trace of a program to a typed graph: resolves names, orders the calls, binds their arguments, and types every op.

All faults are collected and raised together. A call that depends on a faulty call is not traced.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from engine.errors import MOST_FAULTS, Fault, GraphError, OpError, Path
from engine.graph.graph import Builder, Tensor, building, check_elements
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY, Op
from engine.graph.promotion import leaf
from engine.graph.signature import Parameter, offered_dtype
from engine.graph.types import float64
from engine.hints import names as hints
from engine.hints.suggestions import Suggestions
from engine.ops.autograd import detached, marked
from engine.program.program import Argument, Leaf, OpCall, Program, Ref

Bound = dict[str, Any]


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
        producers = _producers(program, faults)
        traced.reads = list(map(names_read, program.ops))
        order = _order(traced, producers, faults)
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


def references(call: OpCall) -> Iterator[tuple[Path, Ref]]:
    """Yield every name that a call's inputs refer to, with its path inside the call."""
    inputs = call.inputs
    items: Iterable[tuple[str | int, Argument]] = enumerate(inputs) if isinstance(inputs, tuple) else inputs.items()
    for key, argument in items:
        if type(argument) is Ref:
            yield ("inputs", key), argument
        elif type(argument) is tuple:
            yield from _nested_references(("inputs", key), argument)


def names_read(call: OpCall) -> list[str]:
    """Return every name that a call's inputs refer to."""
    inputs = call.inputs if isinstance(call.inputs, tuple) else call.inputs.values()
    names: list[str] = []
    for argument in inputs:
        if type(argument) is Ref:
            names.append(argument.name)
        elif type(argument) is tuple:
            names += [ref.name for _, ref in _nested_references((), argument)]
    return names


def _nested_references(path: Path, items: tuple[Argument, ...]) -> Iterator[tuple[Path, Ref]]:
    """Yield the names in a list, at any depth."""
    stack: list[tuple[Path, Argument]] = [(path, items)]
    while stack:
        place, item = stack.pop()
        if type(item) is Ref:
            yield place, item
        elif type(item) is tuple:
            stack.extend([((*place, position), inner) for position, inner in reversed(list(enumerate(item)))])


def output_names(call: OpCall) -> tuple[str | None, ...]:
    """Return the names that a call gives its results."""
    return (call.output,) if isinstance(call.output, str) else call.output


def _producers(program: Program, faults: list[Fault]) -> dict[str, int]:
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


def _order(traced: Trace, producers: Mapping[str, int], faults: list[Fault]) -> Sequence[int]:
    """Return the indices of the calls in topological order; report unknown names and cycles.

    Among the calls that are ready, the one with the lowest index is first.
    """
    program = traced.program
    waiting: list[int] = []
    users: dict[int, list[int]] = {}
    given = True
    for index, names in enumerate(traced.reads):
        needs: set[int] = set()
        for name in names:
            if name in producers:
                needs.add(producers[name])
            elif name not in program.tensors:
                _report_unknown(traced, producers, index, faults)
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


def _report_unknown(traced: Trace, producers: Mapping[str, int], index: int, faults: list[Fault]) -> None:
    """Report each name that a call reads and that neither a tensor nor an output has."""
    tensors = traced.program.tensors
    for path, ref in references(traced.program.ops[index]):
        if len(faults) >= MOST_FAULTS:
            return
        if ref.name not in producers and ref.name not in tensors:
            near = traced.suggestions.did_you_mean(ref.name, chain(tensors, producers))
            faults.append(_unknown(traced.program.ops[index], ("graph", "ops", index, *path), ref.name, near))


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
    arguments = _plain(traced.names, op, call)
    if arguments is None:
        binding = _Binding(traced, op, call, path)
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
        place = (*path, *_Binding(traced, op, call, path).place(error.argument))
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


_NUMBERS = (bool, int, float, type(None))
"""Types of arguments that need no conversion if the parameter accepts the type."""


def _plain(names: Mapping[str, Tensor], op: Op, call: OpCall) -> Bound | None:
    """Return the arguments by parameter if all arguments are positional tensors and numbers, as in most calls.

    Return None for other calls and for faulty calls. `_Binding` binds every call and reports the faults.
    """
    inputs, signature = call.inputs, op.signature
    if call.attributes or type(inputs) is not tuple or len(inputs) > len(signature.positional):
        return None
    given: Bound = {}
    for parameter, argument in zip(signature.positional, inputs, strict=False):
        if parameter.variadic:
            return None
        if type(argument) is not Ref:
            if type(argument) not in _NUMBERS or type(argument) not in parameter.takes:
                return None
            given[parameter.name] = argument
        elif Tensor in parameter.takes:
            given[parameter.name] = names[argument.name]
        else:
            return None
    return None if signature.missing(given) else given


def _may_name_tensor(argument: Argument, parameter: Parameter) -> bool:
    """Whether an attribute refers to a tensor, or is a string where the parameter takes a tensor and no string."""
    if type(argument) is str:
        return parameter.takes_tensors and str not in parameter.takes
    return type(argument) is Ref or (type(argument) is tuple and any(_nested_references((), argument)))


class _Binding:
    """Binds the arguments of a call to the op's parameters. `places` has the path of each argument in the call."""

    def __init__(self, traced: Trace, op: Op, call: OpCall, path: Path) -> None:
        self.names, self.op, self.call, self.path = traced.names, op, call, path
        self.suggestions = traced.suggestions
        self.faults: list[Fault] = []
        self.places: dict[str, Path] = {"output": ("output",)}

    def place(self, argument: str | None) -> Path:
        """Return the path of an argument in the call; an empty path for an unknown argument."""
        self.bind()
        return self.places.get(argument, ()) if argument else ()

    def bind(self) -> Bound:
        """Return the arguments by parameter. Faults are appended to `faults`."""
        given: dict[str, Any] = {}
        inputs = self.call.inputs
        if isinstance(inputs, tuple):
            self._positional(given, inputs)
        else:
            for name, argument in inputs.items():
                self._take(given, name, argument, ("inputs", name), attribute=False)
        for name, argument in self.call.attributes.items():
            self._take(given, name, argument, ("attributes", name), attribute=True)
        for parameter in self.op.signature.missing(self.places):
            self._fault(
                (),
                "missing_argument",
                f"{self.op.name} needs {parameter.name!r}, {parameter.describe()}",
                f"Its signature is {self.op.name}{self.op.signature.text}.",
            )
        return given

    def _positional(self, given: Bound, inputs: Sequence[Argument]) -> None:
        free = self.op.signature.positional
        for position, argument in enumerate(inputs):
            parameter = free[position] if position < len(free) else None
            if parameter is not None and parameter.variadic:
                self._variadic(given, parameter, inputs[position:], position)
                return
            if parameter is None:
                self._fault(
                    ("inputs", position),
                    "too_many_arguments",
                    f"{self.op.name} takes {len(free)} positional arguments, and inputs has {len(inputs)}",
                    f"Its signature is {self.op.name}{self.op.signature.text}.",
                )
                return
            self._take(given, parameter.name, argument, ("inputs", position), attribute=False)

    def _variadic(self, given: Bound, parameter: Parameter, rest: Sequence[Argument], position: int) -> None:
        """Bind the remaining inputs, or a single list of them, to a variadic parameter."""
        whole = rest[0] if len(rest) == 1 and isinstance(rest[0], tuple) else tuple(rest)
        self._take(given, parameter.name, whole, ("inputs", position), attribute=False)

    def _take(self, given: Bound, name: str, argument: Argument, place: Path, *, attribute: bool) -> None:
        parameter = self.op.signature.named(name)
        if parameter is None:
            known = [parameter.name for parameter in self.op.signature.parameters]
            near = hints.of_parameter(name, known, self.suggestions)
            hint = near or f"Its signature is {self.op.name}{self.op.signature.text}."
            self._fault(place, "unknown_parameter", f"{self.op.name} has no parameter {name!r}", hint)
            return
        if name in self.places:
            self._fault(place, "repeated_argument", f"{name!r} is given twice", "Give it once.")
            return
        self.places[name] = place
        if attribute and _may_name_tensor(argument, parameter):
            self._fault(
                place,
                "tensor_in_attributes",
                f"{name!r} takes {parameter.describe()}, and attributes hold no tensors",
                "Give it in inputs: by position, or write inputs as an object of parameter names.",
            )
            return
        try:
            given[name] = parameter.accept(self._resolved(argument))
        except OpError as error:
            self._fault(place, error.code, f"{self.op.name}: {error.detail}", error.hint)

    def _resolved(self, argument: Argument) -> Any:
        if type(argument) is Ref:
            return self.names[argument.name]
        if type(argument) is tuple:
            return tuple(self._resolved(item) for item in argument)
        return argument

    def _fault(self, place: Path, code: str, detail: str, hint: str) -> None:
        self.faults.append(Fault((*self.path, *place), code, detail, hint))
