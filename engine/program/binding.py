"""Arguments of a call, bound to the parameters of its op.

`engine.program.trace` uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import Fault, OpError, Path
from engine.graph.graph import Tensor
from engine.graph.op import Op
from engine.graph.signature import Parameter
from engine.hints import names as hints
from engine.hints.suggestions import Suggestions
from engine.program.program import Argument, OpCall, Ref
from engine.program.references import nested_references

Bound = dict[str, Any]
"""Arguments by parameter."""

_NUMBERS = (bool, int, float, type(None))
"""Types of arguments that need no conversion if the parameter accepts the type."""


def plain_arguments(names: Mapping[str, Tensor], op: Op, call: OpCall) -> Bound | None:
    """Return the arguments by parameter if all arguments are positional tensors and numbers, as in most calls.

    Return None for other calls and for faulty calls. `Binding` binds every call and reports the faults.
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
    return type(argument) is Ref or (type(argument) is tuple and any(nested_references((), argument)))


class Binding:
    """Binds the arguments of a call to the op's parameters. `places` has the path of each argument in the call."""

    def __init__(self, names: Mapping[str, Tensor], op: Op, call: OpCall, path: Path, suggestions: Suggestions) -> None:
        self.names, self.op, self.call, self.path = names, op, call, path
        self.suggestions = suggestions
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
