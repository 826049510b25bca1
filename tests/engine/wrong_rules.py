"""Gradient rules that are wrong, each in its own way, with programs that show it: what a check must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.graph.op import REGISTRY
from engine.graph.primitive import Primitive
from engine.ops.elementwise import arithmetic, exponential, power, trigonometric
from engine.ops.elementwise import selection as choice
from engine.ops.indexing import joining, slicing
from engine.ops.linalg import matmul
from engine.ops.linalg import solve as linalg
from engine.ops.nn import softmax as softmaxes
from engine.ops.reduction import cumulative, extrema, moments
from engine.ops.reduction import sums as reduction
from engine.ops.shape import movement
from engine.program.program import OpCall
from tests.engine.programs import call

RNG = np.random.default_rng(0)
OPS = {name: REGISTRY[name].function for name in REGISTRY}


@dataclass(frozen=True)
class Plant:
    """A wrong rule of a primitive, and the program that shows it."""

    primitive: Primitive
    position: int | None
    rule: Callable[..., Any]
    values: dict[str, Any]
    call: OpCall


def unary(primitive: Primitive, rule: Callable[..., Any], name: str, *arguments: Any, low: float = -2.0) -> Plant:
    """Return a wrong rule of a primitive of one input, on a (3, 4) tensor."""
    values = {"x": np.random.default_rng(5).uniform(low, 2.0, (3, 4))}
    return Plant(primitive, 0, rule, values, call(name, "x", *arguments, output="y"))


def binary(primitive: Primitive, position: int, rule: Callable[..., Any], name: str, low: float = -2.0) -> Plant:
    """Return a wrong rule for one input of a primitive of two (3, 3) inputs."""
    values = {key: np.random.default_rng(ord(key)).uniform(low, 2.0, (3, 3)) for key in ("a", "b")}
    return Plant(primitive, position, rule, values, call(name, "a", "b", output="y"))


SPD = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]])
WRONG: dict[str, Plant] = {
    "wrong sign": unary(trigonometric.sin, lambda g, out, x: -g * OPS["cos"](x), "sin"),
    "a factor is missing": unary(power.square, lambda g, out, x: g * x, "square"),
    "a term is missing": unary(softmaxes._softmax, lambda g, out, x, *, dim, empty: g * out, "softmax", -1),
    "a power is missing": unary(trigonometric.tanh, lambda g, out, x: g * (1 - out), "tanh"),
    "not transposed": binary(matmul._matmul, 0, lambda g, out, a, b: matmul._matmul(g, b), "matmul"),
    "transposed result": binary(
        matmul._matmul, 1, lambda g, out, a, b: OPS["t"](matmul._matmul(OPS["t"](a), g)), "matmul"
    ),
    "the sum over what was broadcast is forgotten": Plant(
        arithmetic._add,
        1,
        lambda g, out, a, b: slicing.narrowed(g, -2, 0, 1),
        {"a": RNG.standard_normal((3, 4)), "b": RNG.standard_normal(4)},
        call("add", "a", "b", output="y"),
    ),
    "wrong at negative values": unary(arithmetic.abs, lambda g, out, x: g, "abs"),
    "off by one": unary(
        slicing._slice,
        lambda g, out, x, *, cuts: slicing.padded(g, ((0, 0, 0), (2, 0, 0))),
        "narrow",
        1,
        1,
        2,
    ),
    "detached": unary(exponential.exp, lambda g, out, x: None, "exp"),
    "the input where the result is meant": unary(power.sqrt, lambda g, out, x: g / (x * 2), "sqrt", low=0.3),
    "the sign of a quotient": binary(arithmetic._div, 1, lambda g, out, a, b: g * (out / b), "div", low=0.5),
    "the other operand": binary(arithmetic.mul, 0, lambda g, out, a, b: g * a, "mul"),
    "branches exchanged": Plant(
        choice._where,
        1,
        lambda g, out, c, a, b: OPS["where"](c, 0.0, g),
        {"c": np.array([True, False, True]), "a": RNG.standard_normal(3), "b": RNG.standard_normal(3)},
        call("where", "c", "a", "b", output="y"),
    ),
    "both sides of a maximum": binary(choice.maximum, 0, lambda g, out, a, b: g, "maximum"),
    "every element of an extremum": unary(
        extrema._amax, lambda g, out, x, *, dims, keepdim, of_nan: movement.expanded(g, x.shape), "amax"
    ),
    "weights that are not normalized": unary(
        reduction._logsumexp,
        lambda g, out, x, *, dims, keepdim: reduction.restored(g, x.shape, dims, keepdim) * OPS["exp"](x),
        "logsumexp",
        1,
    ),
    "a sum from the wrong end": unary(
        cumulative._cumsum,
        lambda g, out, x, *, dim, reverse: cumulative._cumsum(g, dim=dim, reverse=reverse),
        "cumsum",
        1,
    ),
    "n instead of n - 1": unary(
        moments._var,
        lambda g, out, x, *, dims, correction, keepdim: (
            reduction.restored(g, x.shape, dims, keepdim) * (x - OPS["mean"](x)) * (2 / x.numel)
        ),
        "var",
    ),
    "dimensions permuted twice": Plant(
        movement._permute,
        0,
        lambda g, out, x, *, dims: movement._permute(g, dims=dims),
        {"x": RNG.standard_normal((3, 3, 3))},
        call("permute", "x", [1, 2, 0], output="y"),
    ),
    "an inverse that is not transposed": Plant(
        linalg._inv,
        0,
        lambda g, out, x, *, check: -matmul._matmul(matmul._matmul(out, g), out),
        {"x": SPD + np.triu(np.ones((3, 3)))},
        call("linalg.inv", "x", output="y"),
    ),
    "parts in another order": Plant(
        joining._cat,
        None,
        lambda g, out, *tensors, dim: joining.parted(g, dim, tuple(t.shape[dim] for t in tensors))[::-1],
        {"a": RNG.standard_normal((2, 3)), "b": RNG.standard_normal((2, 3))},
        call("cat", ["a", "b"], output="y"),
    ),
    "a tenth of a percent": unary(exponential.log, lambda g, out, x: g / x * 1.001, "log", low=0.3),
    "one element of many": Plant(
        arithmetic.neg,
        0,
        lambda g, out, x: slicing.padded(OPS["sub"](0.0, slicing.narrowed(g, -1, 0, 11)), ((0, 1, 0),)),
        {"x": RNG.standard_normal(12)},
        call("neg", "x", output="y"),
    ),
}
