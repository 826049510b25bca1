"""Primitives, the operations of nodes, and the decorators that make them. `engine.ops` defines primitives with them.

The function of a primitive is its type rule. Its `kernel` computes the results on NumPy arrays. Its `vjp` rules make
nodes of the gradient. Its *kind* states how outputs depend on inputs and determines tangents and batching:

- `elementwise` (see `engine.graph.elementwise`): each output element depends on one element of each (broadcast) input;
- `linear`: jointly linear in all floating inputs;
- `multilinear`: linear in each floating input with the others fixed;
- `primitive`: none of these.

Dimensions in the parameters of primitives are negative (counted from the end), so leading batch axes do not change
them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar, Unpack, overload

from engine.graph.graph import NO_PARAMS, Node, Tensor, Traits, builder
from engine.graph.kernel import Kernel, Lowered
from engine.graph.relation import Relation
from engine.graph.signs import Sign, Singular
from engine.graph.traits import in_place, moves
from engine.graph.types import DType, Shape

F = TypeVar("F", bound=Callable[..., Any])
Rule = Callable[..., Any]
Lowering = Callable[[Node], Lowered | None]

_EXACT = ("int", "bool", "str", "DType", "Shape", "Dims")
"""Annotations of parameters with identical values if they compare equal, unlike 0.0 and -0.0, or 1 and 1.0."""


PRIMITIVES: list[Primitive] = []
"""All primitives in order of definition. The import of `engine.ops` fills it. It does not change afterwards."""


class Declared(TypedDict, total=False):
    """The traits that the decorator of a primitive accepts. `engine.graph.graph.Traits` describes them."""

    differentiable: bool
    view: bool
    may_copy: bool
    broadcasts: bool
    sums: bool
    pointwise: bool
    cost: Callable[[Node], int]
    effort: Callable[[Node], int]
    memory: Callable[[Node], int]
    blas: bool
    lapack: bool
    trailing: int
    relation: Callable[[Node, int, int], Relation | None]
    analytic: bool
    singular: Singular
    sign: Callable[[Node, list[Sign]], Sign]
    chooses: bool
    channels_first: bool
    batch_last: Callable[[Node, int], dict[str, Any]]


class Primitive(Traits):
    """The operation of a node.

    `rules` maps the position of an input to its vjp rule. `joint` is a rule that returns all cotangents at once. The
    call of a rule is `rule(grad, out, *inputs, **params)`. For a primitive with several results `grad` and `out` are
    tuples, and an absent cotangent is None.

    `cost` and `memory` must be declared, except for a view that never copies: it takes no operations and no memory.
    `require_traits` raises TypeError if one is missing.
    """

    kind = "general"
    commutes = False

    def __init__(self, function: Callable[..., Any], **declared: Unpack[Declared]) -> None:
        self.name = function.__name__.rstrip("_")
        self.function = function
        self.__doc__ = function.__doc__
        self._read_signature(function)
        self.rules, self.joint = {}, None
        self.run, self.lower = None, None
        self._declare(declared)
        PRIMITIVES.append(self)

    def _read_signature(self, function: Callable[..., Any]) -> None:
        """Set the traits given by the signature of the type rule: `several`, `variadic`, `exact` and the names."""
        self.several = "tuple" in str(function.__annotations__.get("return", ""))
        parameters = inspect.signature(function).parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.params = tuple(p.name for p in keywords)
        self.exact = all(p.annotation in _EXACT for p in keywords)
        self.tensors = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)

    def _declare(self, given: Declared) -> None:
        """Set the declared traits. Flags default to False, all others to None."""
        self.differentiable = given.get("differentiable", True)
        self.view, self.may_copy = given.get("view", False), given.get("may_copy", False)
        self.broadcasts, self.sums = given.get("broadcasts", False), given.get("sums", False)
        self.pointwise = given.get("pointwise", False)
        free = self.view and not self.may_copy
        self.cost = given.get("cost", moves if free else None)
        self.memory = given.get("memory", in_place if free else None)
        self.effort = given.get("effort")
        self.blas, self.lapack = given.get("blas", False), given.get("lapack", False)
        self.trailing, self.relation = given.get("trailing"), given.get("relation")
        self.analytic = given.get("analytic")
        self.singular, self.sign, self.chooses = given.get("singular"), given.get("sign"), given.get("chooses", False)
        self.channels_first, self.batch_last = given.get("channels_first", False), given.get("batch_last")

    def missing(self) -> list[str]:
        """Return the names of required traits that the primitive does not declare."""
        traits = ["cost", "memory"] + ["analytic"] * (self.kind == "elementwise" and self.differentiable)
        absent = [name for name in traits if getattr(self, name) is None]
        return absent + ["trailing"] * self._has_unknown_pattern()

    def _has_unknown_pattern(self) -> bool:
        """Whether the primitive has derivatives and no trait gives their sparsity pattern."""
        named = self.pointwise or self.relation is not None or self.trailing is not None
        named = named or not {"dim", "dims", "kernel"}.isdisjoint(self.params)
        return self.kind in ("general", "multilinear") and self.differentiable and not named

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
        """Register the kernel: `function(*arrays, **params)`."""
        self.run = function
        return function

    def lowering(self, function: Lowering) -> Lowering:
        """Register a function that returns a cheaper kernel of a node with equal values, or None if there is none."""
        self.lower = function
        return function

    def workspace(self, function: Callable[[Node], int]) -> Callable[[Node], int]:
        """Register `memory`: the bound on the bytes that the kernel allocates in addition to the results."""
        self.memory = function
        return function

    @overload
    def vjp(self, which: F, /) -> F: ...

    @overload
    def vjp(self, which: str, /, *more: str) -> Callable[[F], F]: ...

    def vjp(self, which: str | F, /, *more: str) -> F | Callable[[F], F]:
        """Register a vjp rule: `@p.vjp` for all inputs, `@p.vjp("other")` for the named inputs."""
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
        """Return the number of trailing non-batch dimensions that the primitive works on, or None if unknown."""
        if self.pointwise:
            return 0
        if "dims" in params:
            return max((-dim for dim in params["dims"]), default=0)
        return -int(params["dim"]) if "dim" in params else None

    def bind(self, params: Mapping[str, Any]) -> Kernel:
        """Return the kernel with its parameters as a function of arrays."""
        run = self.run
        if run is None:
            raise NotImplementedError(f"primitive {self.name} has no kernel")
        if not params:
            return run
        return lambda *arrays: run(*arrays, **params)


class Linear(Primitive):
    """A primitive that is jointly linear in its floating inputs. Its tangent applies it to the tangents."""

    kind = "linear"


class Multilinear(Primitive):
    """A primitive that is linear in each floating input. Its tangent is a sum over the inputs."""

    kind = "multilinear"


def primitive(**declared: Unpack[Declared]) -> Callable[[Callable[..., Any]], Primitive]:
    """Make a primitive from its type rule: a function from tensors and parameters to one or several `Type`s."""
    return lambda function: Primitive(function, **declared)


def linear(**declared: Unpack[Declared]) -> Callable[[Callable[..., Any]], Linear]:
    """Make a primitive that is jointly linear in its floating inputs."""
    return lambda function: Linear(function, **declared)


def multilinear(**declared: Unpack[Declared]) -> Callable[[Callable[..., Any]], Multilinear]:
    """Make a primitive that is linear in each of its floating inputs."""
    return lambda function: Multilinear(function, **declared)


def require_traits() -> None:
    """Raise TypeError if a primitive lacks a required trait. The message names the primitive and the trait."""
    for primitive in PRIMITIVES:
        for trait in primitive.missing():
            raise TypeError(f"primitive {primitive.name} of {primitive.function.__module__} declares no {trait}")
