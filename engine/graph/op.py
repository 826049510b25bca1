"""What users call: ops, the decorators that register them, and the registry that the tracer and the catalogue read.

An *op* is a function with PyTorch's signature, registered by `@op`, written in terms of primitives and other ops. An
elementwise primitive whose name has no leading underscore is an op as it stands.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar, Unpack

from engine.graph.elementwise import Elementwise
from engine.graph.graph import OPERATORS
from engine.graph.kernel import Kernel
from engine.graph.primitive import Declared
from engine.graph.promotion import Promotion, floating
from engine.graph.samples import Sample, positive, real
from engine.graph.samples import sample as call
from engine.graph.signature import Signature

P = ParamSpec("P")
R = TypeVar("R")
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
        function.__module__.split(".")[2],
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
    grad_fn: GradFn | None = None,
    samples: Sequence[Sample] = (),
    weight: int | None = None,
    spare: int | None = None,
    **declared: Unpack[Declared],
) -> Callable[[Callable[..., Any]], Elementwise]:
    """Make an elementwise primitive of a function that has a signature, a docstring and no body.

    It takes `weight` operations for each element, and `spare` arrays besides the result: both are known of a bare
    ufunc, and must be declared for any other kernel.

    It is a public op too unless its name starts with an underscore; its samples are then, unless they are given,
    tensors of equal and of broadcasting shapes.
    """

    def decorate(function: Callable[..., Any]) -> Elementwise:
        made = Elementwise(function, ufunc, promotion, weight, spare, **declared)
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


@functools.cache
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
