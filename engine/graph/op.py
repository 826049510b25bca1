"""Ops, the decorators that register them, and the registry. The tracer and the catalogue read the registry.

An *op* is a function that users call by name. It has PyTorch's signature, is registered by `@op`, and calls primitives
and other ops. An elementwise primitive without a leading underscore in its name is also an op.
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
    """A function that users call by name.

    `grad_fn` is PyTorch's name of its backward node: None for the default name, a string, or a function of the bound
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
"""All ops by public name. The import of `engine.ops` fills it. It does not change afterwards."""


@dataclass(frozen=True, slots=True)
class _Declaration:
    """The arguments of the decorators of an op."""

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

    The name of the op is `name` (for PyTorch's dotted names) or the function's name without a trailing underscore.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        _register(function, function, _Declaration(name, grad_fn, samples))
        return function

    return decorate


def alias(name: str, of: str, *, grad_fn: GradFn | None = None) -> None:
    """Register another PyTorch name of an op."""
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
    """Make an elementwise primitive from a function that has a signature, a docstring and no body.

    `weight` is the number of operations per element, `spare` the number of temporary arrays. Both are known for a plain
    ufunc and must be declared for any other kernel.

    The primitive is also a public op unless its name starts with an underscore. The default samples are tensors of
    equal shapes and of shapes that broadcast.
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
