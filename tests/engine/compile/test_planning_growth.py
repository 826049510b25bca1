"""Planning takes steps in proportion to a request: calls and comparisons that Python makes are counted, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hvp import ProductRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.derivatives.jvp import TangentRequest
from engine.compile.request import Request
from engine.errors import GraphError
from engine.graph.graph import Tensor
from engine.graph.limits import Limits
from engine.graph.types import float64
from engine.program.program import Leaf, OpCall, Program, Ref

FEW, MANY = 60, 480
PAIR = Leaf(float64, (2,), True)
Planned = tuple[Program, Request]


class Name(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)


def names(prefix: str, count: int) -> tuple[Name, ...]:
    return tuple(Name(f"{prefix}{number}") for number in range(count))


def refs(found: tuple[Name, ...]) -> tuple[Ref, ...]:
    return tuple(map(Ref, found))


def chain(count: int) -> tuple[OpCall, ...]:
    """`count` calls, each of the result before it, and the sum of the last."""
    links = [OpCall("sin", (Ref(f"x{k}"),), {}, Name(f"x{k + 1}")) for k in range(count)]
    return (*links, OpCall("sum", (Ref(f"x{count}"),), {}, "s"))


def joined(op: str, count: int) -> Program:
    """The sum of `count` tensors, joined."""
    found = names("t", count)
    return Program(
        dict.fromkeys(found, PAIR),
        (OpCall(op, (refs(found),), {}, "b"), OpCall("sum", (Ref("b"),), {}, "s")),
    )


def unbound(count: int, output: tuple[str | None, ...]) -> Program:
    return Program({"x": Leaf(float64, (count,), True)}, (OpCall("unbind", (Ref("x"),), {}, output),))


def chained(count: int) -> Program:
    return Program({"x0": PAIR}, chain(count))


KINDS: dict[str, Callable[[int], Planned]] = {
    "a chain": lambda n: (chained(n), GradientRequest()),
    "a chain backwards": lambda n: (Program({"x0": PAIR}, chain(n)[::-1]), GradientRequest()),
    "names in wrt": lambda n: (chained(n), GradientRequest(wrt=names("x", n))),
    "names in outputs": lambda n: (chained(n), ForwardRequest(outputs=names("x", n))),
    "names in accumulate": lambda n: (
        chained(n),
        GradientRequest(wrt=names("x", n), accumulate=dict.fromkeys(names("x", n), PAIR)),
    ),
    "gradients to add to that are not in wrt": lambda n: (
        chained(n),
        GradientRequest(wrt=names("x", n)[: n // 2], accumulate=dict.fromkeys(names("x", n), PAIR)),
    ),
    "roots": lambda n: (
        Program({"x0": Leaf(float64, (), True)}, chain(n)),
        GradientRequest(backward=dict.fromkeys(names("x", n)), wrt=("x0",)),
    ),
    "targets that no root depends on": lambda n: (
        Program({**dict.fromkeys(names("t", n), PAIR), "x0": PAIR}, chain(2)),
        GradientRequest(wrt=names("t", n), unreached="error"),
    ),
    "targets that do not require grad": lambda n: (
        Program({**dict.fromkeys(names("t", n), Leaf(float64, (2,))), "x0": PAIR}, chain(2)),
        GradientRequest(wrt=names("t", n)),
    ),
    "tensors that nothing reads": lambda n: (
        Program({**dict.fromkeys(names("t", n), PAIR), "x0": PAIR}, chain(1)),
        GradientRequest(),
    ),
    "results of unbind": lambda n: (unbound(n, names("a", n)), ForwardRequest()),
    "results that are skipped": lambda n: (
        unbound(n, (Name("a"), *[None] * (n - 1))),
        GradientRequest(backward={"a": None}),
    ),
    "roots of one op": lambda n: (
        unbound(n, names("a", n)),
        GradientRequest(backward=dict.fromkeys(names("a", n))),
    ),
    "operands of cat": lambda n: (joined("cat", n), GradientRequest()),
    "operands of stack, pushed forward": lambda n: (
        joined("stack", n),
        TangentRequest(tangents=dict.fromkeys(names("t", n), PAIR)),
    ),
    "names in checkpoint": lambda n: (chained(n), GradientRequest(checkpoint=names("x", n))),
    "names in vmap": lambda n: (joined("cat", n), GradientRequest(vmap=dict.fromkeys(names("t", n), 0), backward=None)),
    "anomalies": lambda n: (chained(n), GradientRequest(detect_anomaly=True)),
    "a Hessian's product": lambda n: (chained(n), ProductRequest(vectors={"x0": PAIR})),
    "outputs of a Jacobian": lambda n: (
        Program(
            {"x": Leaf(float64, (), True)},
            tuple(OpCall("mul", (Ref("x"), float(k)), {}, Name(f"y{k}")) for k in range(n)),
        ),
        JacobianRequest(),
    ),
    "inputs of a Jacobian": lambda n: (joined("cat", n), JacobianRequest(wrt=names("t", n))),
}


def work(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the calls of functions, and the comparisons of names and tensors, that planning takes."""
    program, request = planned
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    def equal(self: Tensor, other: object) -> bool:
        nonlocal count
        count += 1
        return self is other

    Name.compared = 0
    with monkeypatch.context() as patched:
        patched.setattr(Tensor, "__eq__", equal)
        patched.setattr(Tensor, "__hash__", object.__hash__)
        sys.setprofile(counted)
        try:
            compile_request(program, request, Limits())
        except GraphError:
            pass
        finally:
            sys.setprofile(None)
    return count + Name.compared


@pytest.mark.parametrize("kind", KINDS)
def test_planning_grows_with_the_request(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work(KINDS[kind](8), monkeypatch)  # what is made once is there
    few, many = (work(KINDS[kind](count), monkeypatch) for count in (FEW, MANY))
    assert many <= 1.35 * (MANY // FEW) * few
