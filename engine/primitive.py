"""What a node does: primitives by kind, and the decorators that make them.

A *primitive* is a node's operation. Its function is its type rule, its `kernel` runs it on NumPy arrays, its `vjp`
rules emit nodes. Its *kind* says how it relates inputs to outputs, from which tangents and batching follow:

- `elementwise` (see `engine.elementwise`): each output element depends on one element of each (broadcast) input;
- `linear`: jointly linear in all floating inputs;
- `multilinear`: linear in each floating input while the others are held;
- `primitive`: none of these.

Dimensions in primitives' parameters are negative (counted from the end), so that leading batch axes never move them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from engine.graph import NO_PARAMS, Node, Tensor, builder
from engine.lowering import Kernel, Lowered
from engine.types import DType, Shape

F = TypeVar("F", bound=Callable[..., Any])
Rule = Callable[..., Any]
Lowering = Callable[[Node], Lowered | None]

_EXACT = ("int", "bool", "str", "DType", "Shape", "Dims")
"""Annotations of parameters whose values are the same where they compare equal: not so 0.0 and -0.0, or 1 and 1.0."""


class Primitive:
    """A node's operation.

    `rules` maps an input's position to its vjp rule; `joint` is a rule that returns all cotangents at once. A rule is
    called as `rule(grad, out, *inputs, **params)`; for a primitive of several results `grad` and `out` are tuples,
    and an absent cotangent is None.

    Flags say what passes over the graph need to know: the result shares the first input's memory (`view`, unless it
    `may_copy`), is the input at every index (`broadcasts`), adds elements up (`sums`), has the input's elements where
    they were (`pointwise`); there is a tuple of results (`several`); any number of inputs can be given (`variadic`);
    values of parameters that compare equal are the same (`exact`).
    """

    kind = "general"
    commutes = False
    """Whether its two operands may be exchanged without changing a bit of the result."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        differentiable: bool = True,
        view: bool = False,
        may_copy: bool = False,
        broadcasts: bool = False,
        sums: bool = False,
        pointwise: bool = False,
    ) -> None:
        self.name = function.__name__.rstrip("_")
        self.function = function
        self.__doc__ = function.__doc__
        self.differentiable, self.view, self.may_copy, self.broadcasts = differentiable, view, may_copy, broadcasts
        self.sums, self.pointwise = sums, pointwise
        self.several = "tuple" in str(function.__annotations__.get("return", ""))
        parameters = inspect.signature(function).parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.params = tuple(p.name for p in keywords)
        self.exact = all(p.annotation in _EXACT for p in keywords)
        self.tensors = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.rules: dict[int, Rule] = {}
        self.joint: Rule | None = None
        self.run: Kernel | None = None
        self.lower: Lowering | None = None
        self.needs: Callable[[Node], int] | None = None

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __call__(self, *inputs: Tensor, **params: Any) -> Any:
        """Add the node and return its result, or the tuple of its results."""
        if not self.params:
            params = NO_PARAMS
        elif tuple(params) != self.params:
            params = {name: params[name] for name in self.params}
        outputs = builder().apply(self, inputs, params, self.types(inputs, params)).outputs
        return outputs if self.several else outputs[0]

    def types(self, inputs: tuple[Tensor, ...], params: Mapping[str, Any]) -> tuple[tuple[DType, Shape], ...]:
        """Return the dtype and shape of each result of a node on these inputs."""
        found = self.function(*inputs, **params)
        return found if self.several else (found,)

    def kernel(self, function: F) -> F:
        """Register what runs it: `function(*arrays, **params)`."""
        self.run = function
        return function

    def lowering(self, function: Lowering) -> Lowering:
        """Register what gives a node a cheaper kernel with the same values, or None where its types allow none."""
        self.lower = function
        return function

    def workspace(self, function: Callable[[Node], int]) -> Callable[[Node], int]:
        """Register what bounds the bytes that the kernel takes besides a node's results, while it runs."""
        self.needs = function
        return function

    @overload
    def vjp(self, which: F, /) -> F: ...

    @overload
    def vjp(self, which: str, /, *more: str) -> Callable[[F], F]: ...

    def vjp(self, which: str | F, /, *more: str) -> F | Callable[[F], F]:
        """Register a vjp rule: `@p.vjp` for the only input or all at once, `@p.vjp("other")` for those named."""
        if not isinstance(which, str):
            if len(self.tensors) == 1 and not self.variadic:
                self.rules[0] = which
            else:
                self.joint = which
            return which

        def register(rule: F) -> F:
            for name in (which, *more):
                self.rules[self.tensors.index(name)] = rule
            return rule

        return register

    def core(self, params: Mapping[str, Any]) -> int | None:
        """Return how many trailing dimensions it works on, before which all are a batch; None where that is unknown."""
        if self.pointwise:
            return 0
        if "dims" in params:
            return max((-dim for dim in params["dims"]), default=0)
        return -int(params["dim"]) if "dim" in params else None

    def bind(self, params: Mapping[str, Any]) -> Kernel:
        """Return the kernel with the parameters in it, ready to be called with arrays."""
        run = self.run
        if run is None:
            raise NotImplementedError(f"primitive {self.name} has no kernel")
        if not params:
            return run
        return lambda *arrays: run(*arrays, **params)


class Linear(Primitive):
    """A primitive that is jointly linear in its floating inputs: its tangent is itself on the tangents."""

    kind = "linear"


class Multilinear(Primitive):
    """A primitive that is linear in each floating input: its tangent is the sum over inputs."""

    kind = "multilinear"


def primitive(**flags: bool) -> Callable[[Callable[..., Any]], Primitive]:
    """Make a primitive of its type rule: a function from tensors and parameters to a `Type` or several."""
    return lambda function: Primitive(function, **flags)


def linear(**flags: bool) -> Callable[[Callable[..., Any]], Linear]:
    """Make a primitive that is jointly linear in its floating inputs. `flags` are those of `Primitive`."""
    return lambda function: Linear(function, **flags)


def multilinear() -> Callable[[Callable[..., Any]], Multilinear]:
    """Make a primitive that is linear in each of its floating inputs."""
    return Multilinear
