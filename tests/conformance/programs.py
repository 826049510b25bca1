"""Random programs: graphs in which many ops meet, of tensors small and large, written as requests of the contract.

What ops do alone the samples show; what a program adds is fan-out, several roots, broadcasting between results, views
of views, equal subexpressions, and clusters of ops that are computed by blocks. Values stay near 1: what grows is
followed by what bounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]

BOUNDED = ("tanh", "sigmoid", "sin", "cos", "relu", "leaky_relu", "abs", "silu", "gelu", "softplus", "erf", "neg")
DIMENSIONED = ("softmax", "log_softmax", "cumsum", "flip", "logsumexp", "mean", "sum", "amax", "amin", "var", "std")
BINARY = ("add", "sub", "mul", "maximum", "minimum")


@dataclass
class Program:
    """A graph under construction: the request's tensors and ops, and the shapes of what can be read."""

    draw: np.random.Generator
    tensors: dict[str, Any] = field(default_factory=dict)
    ops: list[dict[str, Any]] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def leaf(self, shape: Shape, *, requires_grad: bool) -> str:
        """Add a tensor."""
        name = f"t{len(self.tensors)}"
        data = self.draw.uniform(-1.5, 1.5, shape)
        self.tensors[name] = {"data": data.ravel().tolist(), "shape": list(shape), "requires_grad": requires_grad}
        self.shapes[name] = shape
        return name

    def call(self, op: str, inputs: list[Any], shape: Shape, **attributes: Any) -> str:
        """Add an op whose result has that shape."""
        name = f"v{len(self.ops)}"
        self.ops.append({"op": op, "inputs": inputs, "output": name, "attributes": attributes})
        self.shapes[name] = shape
        self.read.update(item for item in _flat(inputs) if isinstance(item, str))
        return name

    def any(self, wanted: Callable[[Shape], bool] = lambda shape: True) -> str | None:
        """Return a name of a shape that is wanted, newer ones more often."""
        names = [name for name, shape in self.shapes.items() if wanted(shape)]
        if not names:
            return None
        return names[len(names) - 1 - min(int(self.draw.exponential(6)), len(names) - 1)]


def _flat(inputs: list[Any]) -> list[Any]:
    return [item for entry in inputs for item in (_flat(entry) if isinstance(entry, list) else [entry])]


def _unary(program: Program) -> None:
    name = program.any()
    assert name is not None
    program.call(str(program.draw.choice(BOUNDED)), [name], program.shapes[name])


def _grown(program: Program) -> None:
    name = program.any()
    assert name is not None
    shape = program.shapes[name]
    program.call("exp", [program.call("tanh", [name], shape)], shape)


def _binary(program: Program) -> None:
    first = program.any()
    assert first is not None
    shape = program.shapes[first]
    second = program.any(lambda other: _broadcasts(other, shape))
    assert second is not None
    operands = [first, second] if program.draw.random() < 0.5 else [second, first]
    program.call(str(program.draw.choice(BINARY)), operands, shape)


def _broadcasts(other: Shape, shape: Shape) -> bool:
    """Whether `other` can be expanded to `shape`."""
    rest = shape[len(shape) - len(other) :]
    return len(other) <= len(shape) and all(a in {1, b} for a, b in zip(other, rest, strict=True))


def _quotient(program: Program) -> None:
    first = program.any()
    assert first is not None
    shape = program.shapes[first]
    below = program.call("add", [program.call("square", [first], shape), 1.5], shape)
    second = program.any(lambda other: _broadcasts(other, shape))
    program.call("div", [second, below], shape)


def _along(program: Program) -> None:
    name = program.any(lambda shape: len(shape) > 0)
    if name is None:
        return
    shape = program.shapes[name]
    dim = int(program.draw.integers(len(shape)))
    op = str(program.draw.choice(DIMENSIONED))
    if op in {"softmax", "log_softmax", "cumsum"}:
        program.call("tanh", [program.call(op, [name], shape, dim=dim)], shape)
    elif op == "flip":
        program.call(op, [name], shape, dims=[dim])
    elif op not in {"var", "std"} or shape[dim] > 1:
        keepdim = bool(program.draw.random() < 0.6)
        kept: Shape = (1,) if keepdim else ()
        result = shape[:dim] + kept + shape[dim + 1 :]
        program.call("tanh", [program.call(op, [name], result, dim=dim, keepdim=keepdim)], result)


def _layer(program: Program) -> None:
    name = program.any(lambda shape: len(shape) > 1 and shape[-1] <= 64)
    if name is None:
        return
    shape = program.shapes[name]
    out = int(program.draw.integers(1, 9))
    weight = program.leaf((out, shape[-1]), requires_grad=True)
    bias = program.leaf((out,), requires_grad=bool(program.draw.random() < 0.7))
    made = program.call("linear", [name, weight, bias], (*shape[:-1], out))
    program.call("tanh", [made], (*shape[:-1], out))


def _normalized(program: Program) -> None:
    name = program.any(lambda shape: len(shape) > 1 and shape[-1] > 1)
    if name is None:
        return
    shape = program.shapes[name]
    weight = program.leaf(shape[-1:], requires_grad=True)
    program.call("layer_norm", [name, [shape[-1]], weight], shape)


def _moved(program: Program) -> None:
    name = program.any(lambda shape: len(shape) > 1)
    if name is None:
        return
    shape = program.shapes[name]
    kind = int(program.draw.integers(4))
    if kind == 0:
        program.call("transpose", [name, 0, 1], (shape[1], shape[0], *shape[2:]))
    elif kind == 1:
        program.call("reshape", [name, [-1]], (int(np.prod(shape)),))
    elif kind == 2 and shape[0] > 2:
        program.call("narrow", [name, 0, 1, shape[0] - 2], (shape[0] - 2, *shape[1:]))
    else:
        program.call("cat", [[name, name]], (2 * shape[0], *shape[1:]), dim=0)


def _gathered(program: Program) -> None:
    name = program.any(lambda shape: len(shape) > 0 and shape[0] <= 64)
    if name is None:
        return
    shape = program.shapes[name]
    count = int(program.draw.integers(1, 7))
    index = f"i{len(program.tensors)}"
    program.tensors[index] = {"data": program.draw.integers(shape[0], size=count).tolist(), "dtype": "int64"}
    program.call("index_select", [name, 0, index], (count, *shape[1:]))


def _chosen(program: Program) -> None:
    name = program.any()
    assert name is not None
    shape = program.shapes[name]
    mask = f"m{len(program.ops)}"
    program.ops.append({"op": "gt", "inputs": [name, 0.25], "output": mask})
    program.call("where", [mask, name, program.call("mul", [name, 0.5], shape)], shape)


def _constant(program: Program) -> None:
    name = program.any()
    assert name is not None
    program.call("detach", [name], program.shapes[name])
    unrecorded = program.call("cos", [name], program.shapes[name])
    program.ops[-1]["no_grad"] = True
    program.call("mul", [name, unrecorded], program.shapes[name])


STEPS: tuple[tuple[Callable[[Program], None], float], ...] = (
    (_unary, 6), (_grown, 2), (_binary, 7), (_quotient, 2), (_along, 4), (_layer, 2), (_normalized, 1), (_moved, 2),
    (_gathered, 1), (_chosen, 1), (_constant, 0.5),
)  # fmt: skip
"""What a program is made of, and how often."""

SHAPES: tuple[Shape, ...] = ((), (3,), (2, 3), (4, 1), (1, 5), (3, 4), (2, 3, 4), (5, 1, 2))
LARGE: tuple[Shape, ...] = ((300, 160), (70_000,), (40, 30, 50), (160,), (300, 1))


def request(seed: int, *, large: bool = False, length: int = 25) -> dict[str, Any]:
    """Return a request for the gradients of every leaf, with a random seed for every result that no op reads."""
    program = Program(np.random.default_rng(seed))
    shapes = LARGE if large else SHAPES
    for number in range(4):
        program.leaf(shapes[int(program.draw.integers(len(shapes)))], requires_grad=number < 3)
    steps, weights = [step for step, _ in STEPS], np.array([weight for _, weight in STEPS])
    while len(program.ops) < length:
        step = steps[int(program.draw.choice(len(steps), p=weights / weights.sum()))]
        step(program)
    ends = [op["output"] for op in program.ops if op["output"] in program.shapes and op["output"] not in program.read]
    return {
        "graph": {"tensors": program.tensors, "ops": program.ops},
        "outputs": ends,
        "backward": {name: _seed(program, name) for name in ends},
        "wrt": [name for name, tensor in program.tensors.items() if tensor.get("requires_grad")],
        "dag": False,
    }


def _seed(program: Program, name: str) -> dict[str, Any]:
    shape = program.shapes[name]
    return {"data": program.draw.uniform(-1, 1, shape).ravel().tolist(), "shape": list(shape)}
