"""Predicted and measured time of every primitive at three sizes: run `python -m benchmarks.primitive_cost`.

Nodes come from batched samples of all ops, from their derivatives, and from `GROWING`. Each node runs alone. The
prediction is that of `engine.compile.estimate`. A factor above 1 means that the node took longer than predicted; a
request with such a node can block the event loop.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import engine.ops  # noqa: F401
from engine.autodiff.reverse import backward
from engine.autodiff.vmap import batched
from engine.compile.estimate import BYTE_S, DOUBLE_S, FLOP_S, SINGLE_S, STEP_S
from engine.execute.numpy.kernels import lowered
from engine.graph.function import Function
from engine.graph.graph import Builder, Node, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.samples import Draw, Sample
from engine.graph.types import DTYPES, DType, Shape, float32, float64
from engine.optimize.cost import step_cost

FACTOR = 6.0
"""The maximum ratio of measured and predicted time of a node."""

LEAST_S = 2e-4
"""Nodes that take fewer seconds are not judged: they are too short to block the event loop."""

BATCHES = (200, 2_000, 20_000)
"""Batch sizes: the number of samples that run at once."""

MOST = 2**24
"""Nodes with more elements are left out."""


def predicted(node: Node) -> float:
    """Return the predicted seconds of a node on one core."""
    cost = step_cost([node], node.inputs, node.outputs)
    rate = FLOP_S if not node.primitive.blas else DOUBLE_S if node.outputs[0].dtype is float64 else SINGLE_S
    return (
        STEP_S
        + cost.flops * rate
        + (cost.effort - cost.flops) * FLOP_S
        + (cost.bytes_read + cost.bytes_written) * BYTE_S
    )


def measured(node: Node, arrays: Sequence[Any], rounds: int = 5) -> tuple[float, Any]:
    """Return the median CPU seconds of a node on arrays, and its result.

    CPU time is independent of the machine's load.
    """
    kernel, extra, params = lowered(node)
    found = []
    for _ in range(rounds):
        start = time.process_time()
        result = kernel(*arrays, *extra, **params)
        found.append(time.process_time() - start)
        if sum(found) > 1:
            break
    return statistics.median(found), result


def factors(wanted: Sequence[Tensor], values: Mapping[Any, Any]) -> Iterator[tuple[Node, float, float]]:
    """Yield each node on which the wanted tensors depend, with its predicted and its measured seconds."""
    memory: dict[Tensor, Any] = {}
    function = Function.of(wanted)
    if max([tensor.numel for node in function.nodes for tensor in node.outputs], default=0) > MOST:
        return
    for tensor in function.inputs:
        memory[tensor] = values[tensor.node.params["source"]]
    with np.errstate(all="ignore"):
        for node in function.nodes:
            seconds, result = measured(node, [memory[tensor] for tensor in node.inputs])
            memory.update(zip(node.outputs, result if node.primitive.several else (result,), strict=True))
            yield node, predicted(node), seconds


def derivatives(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of the sum of the outputs, and the gradients of the sum of these gradients."""
    found: list[Tensor] = []
    for _ in range(2):
        outputs = [tensor for tensor in outputs if tensor.requires_grad]
        seeds = [(tensor, REGISTRY["ones_like"].function(tensor)) for tensor in outputs]
        outputs = [tensor for tensor in backward(seeds, inputs) if tensor is not None] if seeds else []
        found += outputs
    return found


def samples(many: int) -> Iterator[tuple[str, Iterator[tuple[Node, float, float]]]]:
    """Yield each sample of each op with the nodes of a batch of `many` copies of the sample."""
    for name, op in sorted(REGISTRY.items()):
        for number, sample in enumerate(op.samples):
            yield f"{name}-{number}", factors(*batched_sample(name, sample, many))


def batched_sample(name: str, sample: Sample, many: int) -> tuple[list[Tensor], dict[Any, Any]]:
    """Return the results and derivatives of a batch of `many` copies of a sample, and the values of its leaves."""
    rng = np.random.default_rng(0)
    values: dict[Any, Any] = {("seed", ""): np.int64(7)}
    mapped: dict[Tensor, Tensor] = {}

    def placed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(placed(item) for item in value)
        if not isinstance(value, Draw):
            return value
        drawn = value.draw(rng)
        key, dtype = str(len(mapped)), DTYPES[drawn.dtype.name]
        one = leaf(("tensors", key), dtype, drawn.shape, value.grad and dtype.is_floating)
        mapped[one] = leaf(("many", key), dtype, (many, *drawn.shape))
        values["tensors", key] = drawn
        values["many", key] = np.ascontiguousarray(np.broadcast_to(drawn, (many, *drawn.shape)))
        return one

    with building(Builder(Limits())):
        args, kwargs = placed(sample.args), {key: placed(value) for key, value in sample.kwargs.items()}
        made = REGISTRY[name].function(*args, **kwargs)
        outputs = list(made) if isinstance(made, tuple | list) else [made]
        wrt = [tensor for tensor in mapped if tensor.requires_grad]
        return batched([*outputs, *derivatives(outputs, wrt)], mapped, many), values


@dataclass(frozen=True, slots=True)
class Grown:
    """A call of an op with work that grows with a scale. `tensors` gives the shapes, `others` the other arguments."""

    op: str
    tensors: Callable[[int], Sequence[Shape]]
    others: Callable[[int], tuple[Any, ...]] = lambda _: ()
    dtype: DType = float64


def _image(scale: int) -> Sequence[Shape]:
    return [(1, 1, 64 + scale, 64 + scale)]


def _square(scale: int) -> Sequence[Shape]:
    return [(4 * scale, 4 * scale)]


def _tall(scale: int) -> Sequence[Shape]:
    return [(100 * scale, scale)]


_ALONG = ("cumsum", "cumprod", "logcumsumexp", "median", "softmax", "log_softmax", "logsumexp", "var", "prod")
"""Ops along one dimension."""

GROWING = (
    Grown("max_pool2d", _image, lambda scale: (scale, 1), float32),
    Grown("max_pool2d", _image, lambda scale: (scale, scale)),
    Grown("avg_pool2d", _image, lambda scale: (scale, 1)),
    Grown("adaptive_avg_pool2d", _image, lambda _: (4,)),
    Grown("adaptive_max_pool2d", _image, lambda _: (4,)),
    Grown("unfold", _image, lambda scale: (scale,)),
    Grown("conv2d", lambda scale: [*_image(scale), (2, 1, scale, scale)], dtype=float32),
    Grown("repeat", lambda _: [(1000,)], lambda scale: (scale,)),
    Grown("unbind", lambda scale: [(50 * scale, 3)]),
    Grown("diag_embed", lambda scale: [(scale, scale)]),
    Grown("tril", lambda scale: [(20 * scale, 20 * scale)]),
    *(Grown(name, _square) for name in ("linalg.det", "linalg.inv", "linalg.svd", "linalg.svdvals", "linalg.slogdet")),
    Grown("linalg.solve", lambda scale: [(4 * scale, 4 * scale), (4 * scale, 2)]),
    Grown("einsum", lambda scale: [(scale, scale), (scale, scale)], lambda _: ("ij,jk->ik",)),
    *(Grown(name, _tall, others) for name in _ALONG for others in (lambda _: (0,), lambda _: (1,))),
    Grown("rand", lambda _: [], lambda scale: (1000 * scale,)),
    Grown("randn", lambda _: [], lambda scale: (1000 * scale,)),
)
"""Calls with work that grows with a parameter or with the size of one dimension."""


def grown_call(grown: Grown, scale: int) -> tuple[list[Tensor], dict[Any, Any]]:
    """Return the results of a call, their derivatives, and the values of its leaves."""
    rng = np.random.default_rng(0)
    values: dict[Any, Any] = {("seed", ""): np.int64(7)}
    with building(Builder(Limits())):
        inputs = []
        for position, shape in enumerate(grown.tensors(scale)):
            source = ("tensors", str(position))
            values[source] = rng.uniform(0.5, 1.5, shape).astype(grown.dtype.numpy)
            inputs.append(leaf(source, grown.dtype, shape, requires_grad=True))
        others = grown.others(scale)
        if grown.op == "einsum":
            made = REGISTRY["einsum"].function(*others, *inputs)
        else:
            made = REGISTRY[grown.op].function(*inputs, *others)
        outputs = list(made) if isinstance(made, tuple | list) else [made]
        return [*outputs, *derivatives(outputs, inputs)], values


def main() -> int:
    """Print each primitive's largest factor and its node. Return 1 if a factor is over `FACTOR`, else 0."""
    worst: dict[str, tuple[float, str]] = {}

    def take(label: str, pairs: Iterator[tuple[Node, float, float]]) -> None:
        for node, expected, seconds in pairs:
            name = f"{node.primitive.name} of {node.primitive.function.__module__.rpartition('.')[2]}"
            ratio = seconds / max(expected, LEAST_S)
            shapes = " ".join(f"{tensor.dtype}{list(tensor.shape)}" for tensor in node.inputs)
            worst[name] = max(worst.get(name, (0.0, "")), (ratio, f"{label}: {shapes} {seconds:.2g} s"))

    for scale in (3, 12, 48):
        for grown in GROWING:
            take(f"{grown.op} {scale}", factors(*grown_call(grown, scale)))
    for many in BATCHES:
        for label, pairs in samples(many):
            take(f"{label} x {many}", pairs)
    for name, (ratio, where) in sorted(worst.items(), key=lambda item: -item[1][0]):
        print(f"{ratio:8.2f}  {name:45}  {where}")
    return int(max(ratio for ratio, _ in worst.values()) > FACTOR)


if __name__ == "__main__":
    sys.exit(main())
