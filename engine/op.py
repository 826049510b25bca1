"""What an op is: primitives by kind, public ops, and the registry that the tracer and the catalogue read.

A *primitive* is a node's operation. Its function is its type rule, its `kernel` runs it on NumPy arrays, its `vjp`
rules emit nodes. Its *kind* says how it relates inputs to outputs, from which tangents and batching follow:

- `elementwise`: each output element depends on one element of each (broadcast) input;
- `linear`: jointly linear in all floating inputs;
- `multilinear`: linear in each floating input while the others are held;
- `primitive`: none of these.

An *op* is what users call: a function with PyTorch's signature, registered by `@op`, written in terms of primitives and
other ops. An elementwise primitive whose name has no leading underscore is an op as it stands.

Dimensions in primitives' parameters are negative (counted from the end), so that leading batch axes never move them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar, overload

import numpy as np

from engine.errors import OpError
from engine.graph import OPERATORS, Tensor, Type, builder
from engine.samples import Sample, positive, real
from engine.samples import sample as call
from engine.signature import Signature
from engine.types import DType, Number, Shape, bool_, broadcast_shapes, result_type

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
Rule = Callable[..., Any]
Kernel = Callable[..., Any]
Promotion = Callable[[Sequence[Tensor | Number]], tuple[tuple[DType, ...], DType]]
"""From operands to the dtype that each is converted to, and the result's."""


class Primitive:
    """A node's operation.

    `rules` maps an input's position to its vjp rule; `joint` is a rule that returns all cotangents at once. A rule is
    called as `rule(grad, out, *inputs, **params)`; for a primitive of several results `grad` and `out` are tuples,
    and an absent cotangent is None.

    Flags say what passes over the graph need to know: the result shares the first input's memory (`view`, unless it
    `may_copy`), is the input at every index (`broadcasts`), adds elements up (`sums`), has the input's elements where
    they were (`pointwise`); there is a tuple of results (`several`); any number of inputs can be given (`variadic`).
    """

    kind = "general"

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
        self.params = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self.tensors = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.rules: dict[int, Rule] = {}
        self.joint: Rule | None = None
        self.run: Kernel | None = None

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __call__(self, *inputs: Tensor, **params: Any) -> Any:
        """Add the node and return its result, or the tuple of its results."""
        if tuple(params) != self.params:
            params = {name: params[name] for name in self.params}
        types = self.function(*inputs, **params)
        if self.several:
            return builder().apply(self, inputs, params, types).outputs
        return builder().apply(self, inputs, params, (types,)).outputs[0]

    def kernel(self, function: F) -> F:
        """Register what runs it: `function(*arrays, **params)`."""
        self.run = function
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


class Elementwise(Primitive):
    """A primitive whose output elements depend on one element of each broadcast input.

    It promotes and converts its operands itself; numbers become constants. `ufunc` gets arrays that broadcast.
    """

    kind = "elementwise"

    def __init__(self, function: Callable[..., Any], ufunc: Kernel, promotion: Promotion, **options: Any) -> None:
        super().__init__(function, **options)
        self.run = ufunc
        self.promotion = promotion

    def __call__(self, *operands: Tensor | Number, **params: Any) -> Tensor:
        """Add the node, after promotion, and return its result."""
        wanted, result = self.promotion(operands)
        inputs = tuple(map(as_tensor, operands, wanted))
        if tuple(params) != self.params:
            params = {name: params[name] for name in self.params}
        shape = inputs[0].shape
        if len(inputs) > 1:
            shape = broadcast_shapes([tensor.shape for tensor in inputs])
            if any(tensor.node.primitive.broadcasts for tensor in inputs):
                inputs = _unexpanded(list(inputs))
        if not shape and all(tensor.node.primitive is CONSTANT for tensor in inputs):
            return self._folded(inputs, params, result)
        return builder().apply(self, inputs, params, (Type(result, shape),)).outputs[0]

    def _folded(self, inputs: Sequence[Tensor], params: Mapping[str, Any], result: DType) -> Tensor:
        """Return the constant that constants give."""
        with np.errstate(all="ignore"):
            value = self.bind(params)(*[CONSTANT.bind(tensor.node.params)() for tensor in inputs])
        return constant(value.item(), result)


def _unexpanded(inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return what operands were expanded from, where another operand has the shape anyway: fewer elements to read."""
    for position, tensor in enumerate(inputs):
        if tensor.node.primitive.broadcasts:
            others = inputs[:position] + inputs[position + 1 :]
            if any(other.shape == tensor.shape for other in others):
                inputs[position] = tensor.node.inputs[0]
    return tuple(inputs)


def as_tensor(operand: Tensor | Number, dtype: DType) -> Tensor:
    """Return the operand as a tensor of `dtype`: converted, or a constant."""
    if isinstance(operand, Tensor):
        return operand if operand.dtype is dtype else convert(operand, dtype=dtype)
    return constant(operand, dtype)


def promoted(operands: Sequence[Tensor | Number]) -> DType:
    """Return the dtype that PyTorch's promotion gives the operands."""
    first = operands[0]
    if type(first) is Tensor:
        dtype = first.dtype
        if all(type(operand) is Tensor and operand.dtype is dtype for operand in operands):
            return dtype
    return result_type(
        [(operand.dtype, operand.shape) for operand in operands if isinstance(operand, Tensor)],
        [operand for operand in operands if not isinstance(operand, Tensor)],
        builder().default_dtype,
    )


def arithmetic(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """The result has the promoted dtype."""
    dtype = promoted(operands)
    return (dtype,) * len(operands), dtype


def numeric(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """The result has the promoted dtype, which is not bool."""
    dtype = promoted(operands)
    if dtype is bool_:
        raise OpError("dtype", "this is not defined for bool tensors", "Give one of the operands a number's dtype.")
    return (dtype,) * len(operands), dtype


def floating(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """The result is floating: integers and booleans become the default dtype."""
    dtype = promoted(operands)
    if not dtype.is_differentiable:
        dtype = builder().default_dtype
    return (dtype,) * len(operands), dtype


def comparison(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """Operands are promoted, the result is bool."""
    return (promoted(operands),) * len(operands), bool_


def logical(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """Operands are taken as true where they are not zero; the result is bool."""
    return (bool_,) * len(operands), bool_


GradFn = str | Callable[[Mapping[str, Any], Any], str | None]


@dataclass(frozen=True, slots=True)
class Op:
    """What users call by name.

    `grad_fn` is PyTorch's name for its backward node: None for the usual one, a string, or a function of the bound
    arguments and the result.
    """

    name: str
    function: Callable[..., Any]
    signature: Signature
    family: str
    doc: str
    grad_fn: GradFn | None = None
    samples: tuple[Sample, ...] = ()


REGISTRY: dict[str, Op] = {}
"""Every op by its public name. Filled when `engine.ops` is imported, constant from then on."""


@dataclass(frozen=True, slots=True)
class _Declaration:
    """What the decorators say of an op besides its function."""

    name: str | None = None
    grad_fn: GradFn | None = None
    samples: Sequence[Sample] = field(default_factory=tuple)


def _register(function: Callable[..., Any], called: Callable[..., Any], declared: _Declaration) -> None:
    name = declared.name or function.__name__.rstrip("_")
    if name in REGISTRY:
        raise ValueError(f"op {name} is defined twice")
    REGISTRY[name] = Op(
        name,
        called,
        Signature.of(function),
        function.__module__.rpartition(".")[2],
        inspect.cleandoc(function.__doc__ or ""),
        declared.grad_fn,
        tuple(declared.samples),
    )
    OPERATORS[name] = called


def op(
    *, name: str | None = None, grad_fn: GradFn | None = None, samples: Sequence[Sample] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function with PyTorch's signature as a public op.

    The op's name is the function's (less a trailing underscore) unless `name` gives PyTorch's dotted one.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        _register(function, function, _Declaration(name, grad_fn, samples))
        return function

    return decorate


def alias(name: str, of: str, *, grad_fn: GradFn | None = None) -> None:
    """Register PyTorch's second name of an op."""
    known = REGISTRY[of]
    REGISTRY[name] = replace(known, name=name, grad_fn=grad_fn or known.grad_fn or camel(of))


def elementwise(
    ufunc: Kernel,
    promotion: Promotion = floating,
    *,
    name: str | None = None,
    differentiable: bool = True,
    grad_fn: GradFn | None = None,
    samples: Sequence[Sample] = (),
) -> Callable[[Callable[..., Any]], Elementwise]:
    """Make an elementwise primitive of a function that has a signature, a docstring and no body.

    It is a public op too unless its name starts with an underscore; its samples are then, unless they are given,
    tensors of equal and of broadcasting shapes.
    """

    def decorate(function: Callable[..., Any]) -> Elementwise:
        made = Elementwise(function, ufunc, promotion, differentiable=differentiable)
        if not made.name.startswith("_"):
            drawn = samples or _SAMPLES[len(made.tensors)]
            _register(function, made, _Declaration(name, grad_fn, drawn))
        return made

    return decorate


_SAMPLES: dict[int, tuple[Sample, ...]] = {
    1: (call(real(2, 3)), call(real()), call(real(0, 3))),
    2: (
        call(real(2, 3), positive(2, 3)),
        call(real(2, 3), positive(3)),
        call(real(2, 1), positive(3)),
        call(real(3), 2.5),
    ),
}


def primitive(**flags: bool) -> Callable[[Callable[..., Any]], Primitive]:
    """Make a primitive of its type rule: a function from tensors and parameters to a `Type` or several."""
    return lambda function: Primitive(function, **flags)


def linear(**flags: bool) -> Callable[[Callable[..., Any]], Linear]:
    """Make a primitive that is jointly linear in its floating inputs. `flags` are those of `Primitive`."""
    return lambda function: Linear(function, **flags)


def multilinear() -> Callable[[Callable[..., Any]], Multilinear]:
    """Make a primitive that is linear in each of its floating inputs."""
    return Multilinear


def camel(name: str) -> str:
    """Return PyTorch's name of the backward node of an op: `log1p` gives `Log1PBackward0`."""
    words = []
    start = True
    for letter in name:
        if letter in "._":
            start = True
            continue
        words.append(letter.upper() if start else letter)
        start = letter.isdigit()
    return f"{''.join(words)}Backward0"


# What typing itself needs: leaves, constants and conversion between dtypes.


@primitive(differentiable=False)
def _leaf(*, source: tuple[str, str], dtype: DType, shape: Shape) -> Type:
    """A tensor whose values are given when the graph runs."""
    return Type(dtype, shape)


def leaf(source: tuple[str, str], dtype: DType, shape: Shape, requires_grad: bool = False) -> Tensor:
    """A tensor whose values are given when the graph runs, under the request's member and name in `source`."""
    tensor: Tensor = _leaf(source=source, dtype=dtype, shape=shape)
    tensor.requires_grad = requires_grad
    return tensor


@primitive(differentiable=False)
def _constant(*, value: Number, dtype: DType) -> Type:
    return Type(dtype, ())


@_constant.kernel
def _(*, value: Number, dtype: DType) -> Any:
    return dtype.numpy.type(value)


LEAF, CONSTANT = _leaf, _constant


def constant(value: Number, dtype: DType) -> Tensor:
    """A 0-d tensor of a number that is known when the graph is typed."""
    made: Tensor = _constant(value=_cast(value, dtype), dtype=dtype)
    return made


def _cast(value: Number, dtype: DType) -> Number:
    if dtype.is_integral:
        return int(np.array(int(value.real)).astype(dtype.numpy))  # wraps, as PyTorch's conversions do
    if dtype is bool_:
        return bool(value)
    return value if isinstance(value, complex) else float(value)


@linear(pointwise=True)
def convert(input: Tensor, *, dtype: DType) -> Type:
    """The same values in another dtype."""
    return Type(dtype, input.shape)


@convert.kernel
def _(input: np.ndarray, *, dtype: DType) -> Any:
    return input.astype(dtype.numpy)


@convert.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dtype: DType) -> Tensor:
    return convert(grad, dtype=input.dtype)
