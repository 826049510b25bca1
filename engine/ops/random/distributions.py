"""Random ops: each draws from the request's seed and its own stream, so that the draws of two ops are independent and
the draws of a request are reproducible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type, builder
from engine.graph.op import camel, elementwise, op
from engine.graph.primitive import primitive
from engine.graph.promotion import arithmetic, as_tensor, promoted
from engine.graph.samples import fixed, real, sample, unit
from engine.graph.signature import offered_dtype
from engine.graph.traits import CALL, per_result, size
from engine.graph.types import DType, Shape, broadcast_shapes, float64
from engine.ops.checks import refuse_inplace, require_floating, require_sizes
from engine.ops.elementwise.arithmetic import zeros_like
from engine.ops.random.seed import random_seed
from engine.ops.shape.movement import same

# Draws


Draw = Callable[[np.random.Generator, Shape], np.ndarray]


def _drawn(draw: Draw, seed: np.ndarray, stream: int, shape: Shape) -> np.ndarray:
    """Return draws of `shape` from one seed, or from each seed of a batch; each seed gives the same draws as alone."""
    seeds = np.asarray(seed)
    if not seeds.ndim:
        key = np.array([seeds, stream], np.int64).view(np.uint64)
        return np.asarray(draw(np.random.Generator(np.random.Philox(key=key)), shape))
    rows = [_drawn(draw, one, stream, shape[1:]) for one in seeds]
    return np.stack(rows) if rows else np.zeros(shape)


def _drawing(weight: int) -> Callable[[Node], int]:
    """Return a cost rule: `weight` operations for each number, and the cost of a generator for each seed."""
    return lambda node: weight * node.outputs[0].numel + 20 * CALL * node.inputs[0].numel


def _workspace_of_draws(node: Node) -> int:
    """The draws of each seed, before they are stacked."""
    return size(node.outputs[0]) if node.inputs[0].ndim else 0


@primitive(differentiable=False, cost=per_result(1), effort=_drawing(60), memory=_workspace_of_draws)
def _uniform(seed: Tensor, *, shape: Shape, stream: int) -> Type:
    """Uniform in [0, 1)."""
    return Type(float64, shape)


@_uniform.kernel
def _(seed: np.ndarray, *, shape: Shape, stream: int) -> np.ndarray:
    return _drawn(lambda generator, size: generator.random(size), seed, stream, shape)


@primitive(differentiable=False, cost=per_result(1), effort=_drawing(160), memory=_workspace_of_draws)
def _standard_normal(seed: Tensor, *, shape: Shape, stream: int) -> Type:
    """Normal of mean 0 and variance 1."""
    return Type(float64, shape)


@_standard_normal.kernel
def _(seed: np.ndarray, *, shape: Shape, stream: int) -> np.ndarray:
    return _drawn(lambda generator, size: generator.standard_normal(size), seed, stream, shape)


def uniform(shape: Shape) -> Tensor:
    """Uniform float64 numbers in [0, 1) from a new stream."""
    made: Tensor = _uniform(random_seed(), shape=shape, stream=builder().next_stream())
    return made


def _normals(shape: Shape) -> Tensor:
    made: Tensor = _standard_normal(random_seed(), shape=shape, stream=builder().next_stream())
    return made


# Dropout


def require_probability(p: float, argument: str = "p") -> None:
    """Raise OpError unless `p` is in [0, 1]."""
    if not 0 <= p <= 1:
        raise OpError("range", f"{argument} is {p}, no probability", "Give a number from 0 to 1.", argument)


def _kept(shape: Shape, p: float, dtype: DType) -> Tensor:
    """A mask of 0 with probability `p`, otherwise 1."""
    return as_tensor(uniform(shape) >= p, dtype)


def dropped(input: Tensor, p: float, shape: Shape) -> Tensor:
    """The input, set to 0 with probability `p`, otherwise divided by `1 - p`; draws of `shape` broadcast to it."""
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return input * (_kept(shape, p, input.dtype) * scale)


_DROPOUT = (sample(real(2, 3)), sample(real(4), 0.2), sample(real(3), 1.0), sample(real(3), training=False))


@op(grad_fn="MulBackward0", samples=_DROPOUT)
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, elements set to 0 with probability `p` and the others divided by `1 - p`; else the input itself.

    Source: Hinton et al. 2012; torch.nn.functional.dropout.
    """
    refuse_inplace(inplace)
    require_probability(p)
    if not training:
        return same(input)
    require_floating(input)
    return dropped(input, p, input.shape)


def _channel_dropout(
    input: Tensor, p: float, training: bool, inplace: bool, ranks: tuple[int, ...], unbatched: int
) -> Tensor:
    """Dropout of whole channels of an input with a rank in `ranks`; an input of rank `unbatched` has no N."""
    refuse_inplace(inplace)
    require_probability(p)
    if input.ndim not in ranks:
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)}; it must have {' or '.join(map(str, ranks))} dimensions",
            "Reshape the input: unsqueeze adds a dimension.",
            "input",
        )
    if not training:
        return same(input)
    require_floating(input)
    leading = 1 if input.ndim == unbatched else 2
    return dropped(input, p, (*input.shape[:leading], *(1,) * (input.ndim - leading)))


def _grad_fn(name: str, rank: int) -> Callable[[Mapping[str, Any], Any], str]:
    """PyTorch has a single node if it does not insert a missing N."""
    return lambda given, out: "MulBackward0" if given["input"].ndim == rank else camel(name)


@op(
    grad_fn=_grad_fn("dropout1d", 3),
    samples=(sample(real(2, 3, 2)), sample(real(3, 2), 0.2), sample(real(3, 2), training=False)),
)
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, L) or (C, L). Source: torch.nn.functional.dropout1d."""
    return _channel_dropout(input, p, training, inplace, (2, 3), 2)


@op(
    grad_fn="MulBackward0",
    samples=(sample(real(2, 3, 2, 2)), sample(real(2, 3, 2), 0.2), sample(real(2, 3, 2), training=False)),
)
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, H, W); three dimensions are (N, C, L).

    Source: torch.nn.functional.dropout2d.
    """
    return _channel_dropout(input, p, training, inplace, (3, 4), 0)


@op(
    grad_fn=_grad_fn("dropout3d", 5),
    samples=(sample(real(2, 3, 2, 1, 2)), sample(real(3, 2, 1, 2), 0.2), sample(real(3, 2, 1, 2), training=False)),
)
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W). Source: torch.nn.functional.dropout3d."""
    return _channel_dropout(input, p, training, inplace, (4, 5), 4)


_SELU_FLOOR = 1.7580993408473766


@op(
    grad_fn=lambda given, out: "MulBackward0" if given.get("p") == 1 else "AlphaDropoutBackward0",
    samples=(sample(real(2, 3)), sample(real(3), 0.2, True), sample(real(3), 1.0, True)),
)
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout to selu's value at minus infinity, that keeps mean and variance.

    Source: Klambauer et al. 2017, "Self-normalizing neural networks"; torch.nn.functional.alpha_dropout.
    """
    refuse_inplace(inplace)
    require_probability(p)
    if not training:
        return same(input)
    require_floating(input)
    if p == 1:
        return dropped(input, p, input.shape)
    kept = _kept(input.shape, p, input.dtype)
    scale = 1 / math.sqrt((_SELU_FLOOR**2 * p + 1) * (1 - p))
    return input * (kept * scale) + (kept - 1 + p) * (_SELU_FLOOR * scale)


# Distributions


def _floating(dtype: DType | None, otherwise: DType) -> DType:
    """Return the dtype of the draws. Raises OpError if it is not floating."""
    wanted = offered_dtype(dtype or otherwise, "dtype")
    if not wanted.is_floating:
        raise OpError("dtype", f"random numbers of dtype {wanted} are not defined", "Give a floating dtype.", "dtype")
    return wanted


_SIZES = (sample(2, 3), sample(0, 2), sample(3, dtype=float64))
_LIKE = (sample(real(2, 3)), sample(real()), sample(real(0, 2)))


@op(samples=_SIZES)
def rand(*size: int, dtype: DType | None = None) -> Tensor:
    """Uniform in [0, 1). Source: torch.rand."""
    require_sizes(size)
    return as_tensor(uniform(size), _floating(dtype, builder().default_dtype))


@op(samples=_SIZES)
def randn(*size: int, dtype: DType | None = None) -> Tensor:
    """Normal of mean 0 and variance 1. Source: torch.randn."""
    require_sizes(size)
    return as_tensor(_normals(size), _floating(dtype, builder().default_dtype))


@op(samples=_LIKE)
def rand_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    """Uniform in [0, 1), of the input's shape. Source: torch.rand_like."""
    return as_tensor(uniform(input.shape), _floating(dtype, input.dtype))


@op(samples=_LIKE)
def randn_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    """Normal of mean 0 and variance 1, of the input's shape. Source: torch.randn_like."""
    return as_tensor(_normals(input.shape), _floating(dtype, input.dtype))


def _run_bernoulli(p: np.ndarray, draw: np.ndarray) -> np.ndarray:
    if not np.all((p >= 0) & (p <= 1)):
        raise OpError("value_out_of_range", "a probability is outside [0, 1]", "Clamp the input, or apply sigmoid.")
    return (draw < p).astype(p.dtype)


@elementwise(_run_bernoulli, arithmetic, weight=5, spare=2, analytic=False)
def _bernoulli(input: Tensor, draw: Tensor) -> Tensor: ...


@_bernoulli.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, draw: Tensor) -> Tensor:
    return zeros_like(input)


@op(samples=(sample(unit(2, 3)), sample(unit()), sample(real(2, 3), 0.3)))
def bernoulli(input: Tensor, p: float | None = None) -> Tensor:
    """1 with the probability that the input has (or `p`, of the input's shape), else 0. Its gradient is 0.

    Source: torch.bernoulli.
    """
    if p is not None:
        require_probability(p)
        return as_tensor(uniform(input.shape) < p, input.dtype)
    require_floating(input)
    return _bernoulli(input, as_tensor(uniform(input.shape), input.dtype))


def _run_normal(mean: np.ndarray, std: np.ndarray, draw: np.ndarray) -> np.ndarray:
    if (std < 0).any():
        raise OpError("value_out_of_range", "std has a negative value", "Standard deviations are 0 or more.")
    return mean + std * draw


@elementwise(_run_normal, arithmetic, weight=4, spare=2, analytic=False)
def _normal(mean: Tensor, std: Tensor, draw: Tensor) -> Tensor: ...


@_normal.vjp("mean", "std")
def _(grad: Tensor, out: Tensor, mean: Tensor, std: Tensor, draw: Tensor) -> Tensor:
    return zeros_like(out)


def _normal_grad_fn(given: Mapping[str, Any], out: Any) -> str:
    tensors = [isinstance(given.get(name), Tensor) for name in ("mean", "std")]
    return f"NormalBackward{1 if tensors == [True, False] else 2 if tensors == [False, True] else 3}"


@op(
    grad_fn=_normal_grad_fn,
    samples=(
        sample(fixed(2, 3), fixed(2, 3, low=0.3, high=3)),
        sample(fixed(3), 0.5),
        sample(0.0, fixed(3, low=0.3, high=3)),
        sample(1.0, 2.0, (2, 3)),
    ),
)
def normal(
    mean: Tensor | float, std: Tensor | float = 1.0, size: tuple[int, ...] | None = None, *, dtype: DType | None = None
) -> Tensor:
    """Normal numbers of the means and standard deviations given; their gradient is 0.

    `size` is needed where both are numbers, and only there. Source: torch.normal.
    """
    shapes = [given.shape for given in (mean, std) if isinstance(given, Tensor)]
    if bool(shapes) is not (size is None):
        raise OpError(
            "arguments",
            "size goes with two numbers, and with nothing else",
            "Give size if mean and std both are numbers; else their shape counts.",
            "size" if size is not None else None,
        )
    if not isinstance(std, Tensor) and std < 0:
        raise OpError("range", f"std is {std}, below 0", "Give a number of 0 or more.", "std")
    require_sizes(size or ())
    shape = size if size is not None else broadcast_shapes(shapes)
    own = _floating(dtype, promoted([given for given in (mean, std) if isinstance(given, Tensor)] or [1.0]))
    return _normal(as_tensor(mean, own), as_tensor(std, own), as_tensor(_normals(shape), own))
