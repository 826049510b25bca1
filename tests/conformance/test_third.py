"""Third derivatives of elementwise functions are PyTorch's, by reverse mode three times; no call asks for them, so that
the engine is asked itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import engine.ops  # noqa: F401
from engine.autodiff.forward import jvp
from engine.autodiff.reverse import backward
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.graph.function import Function
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.types import float64
from tests.conformance.compare import difference
from tests.conformance.parameters import function

pytestmark = pytest.mark.conformance

EVERYWHERE = np.array([-2.3, -1.1, -0.4, 0.3, 0.9, 2.6])
POSITIVE = np.array([0.2, 0.7, 1.0, 1.9, 5.5])

SMOOTH_OR_NOT = (
    *(
        "abs",
        "celu",
        "cos",
        "elu",
        "erf",
        "exp",
        "expm1",
        "gelu",
        "hardswish",
        "leaky_relu",
        "logsigmoid",
        "mish",
        "neg",
    ),
    *("reciprocal", "relu", "selu", "sigmoid", "silu", "sin", "softplus", "softsign"),
    *("square", "tanh", "tanhshrink"),
)

OPS: list[tuple[str, tuple[Any, ...], np.ndarray]] = [
    *((name, (), EVERYWHERE) for name in SMOOTH_OR_NOT),
    *((name, (), POSITIVE) for name in ("log", "log1p", "rsqrt", "sqrt")),
    *(("pow", (exponent,), POSITIVE) for exponent in (-2, -0.5, 0, 0.5, 1, 2, 2.5, 3, 4)),
    ("pow", (3,), EVERYWHERE),
]


def _pytorch(name: str, more: tuple[Any, ...], at: np.ndarray) -> torch.Tensor:
    x = torch.tensor(at, requires_grad=True)
    y = function(name).call(x, *more)
    for _ in range(3):
        if not y.requires_grad:
            return torch.zeros_like(x)
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)
    return y.detach()


def _by_reverse_mode(y: Tensor, x: Tensor) -> Tensor | None:
    return backward([(y, leaf(("tensors", "ones"), float64, y.shape))], [x])[0]


def _by_forward_mode(y: Tensor, x: Tensor) -> Tensor | None:
    return jvp([y], {x: leaf(("tensors", "ones"), float64, x.shape)})[0]


@pytest.mark.parametrize("mode", [_by_reverse_mode, _by_forward_mode], ids=["reverse", "forward"])
@pytest.mark.parametrize(("op", "more", "at"), [pytest.param(*case, id=f"{case[0]}-{i}") for i, case in enumerate(OPS)])
def test_the_third_derivative_is_pytorchs(op: str, more: tuple[Any, ...], at: np.ndarray, mode: Any) -> None:
    expected = _pytorch(op, more, at)
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, at.shape, requires_grad=True)
        y: Tensor | None = REGISTRY[op].function(x, *more)
        for _ in range(3):
            y = None if y is None else mode(y, x)
    found = np.zeros_like(at)
    if y is not None:
        (found,) = Runner(plan(Function.of([y]))).run({("tensors", "x"): at, ("tensors", "ones"): np.ones_like(at)})
    assert difference(torch.from_numpy(np.array(found)), expected) is None
