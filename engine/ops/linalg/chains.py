"""Products of several matrices (`multi_dot`), matrix powers, and dot products of batches (`vecdot`)."""

from __future__ import annotations

from itertools import pairwise

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import camel, op
from engine.graph.promotion import constant
from engine.graph.samples import real, sample, spd
from engine.graph.types import bool_, broadcast_shapes, wrap_dim
from engine.ops.checks import require_floating, require_one_dtype
from engine.ops.creation import eye
from engine.ops.elementwise.arithmetic import mul
from engine.ops.elementwise.selection import where
from engine.ops.linalg.matmul import factors, product
from engine.ops.linalg.solve import inverse, require_square
from engine.ops.reduction.sums import sum
from engine.ops.shape.movement import expanded, reshaped, same

# Chains

_LONG = 64
"""Longer chains are multiplied from left to right, because finding the best order takes cubic time."""

Splits = dict[tuple[int, int], int]


def _best_splits(sizes: list[int]) -> Splits:
    """Return the split of each product of matrices i to j that minimises the number of multiplications.

    Matrix i is sizes[i] by sizes[i + 1]. Source: Cormen et al., "Introduction to Algorithms", section 15.2.
    """
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    splits: Splits = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j], splits[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
    return splits


def _chained(matrices: list[Tensor]) -> Tensor:
    """The product of matrices, in the order with the fewest multiplications."""
    count = len(matrices)
    if count > _LONG:
        splits = {(0, j): j - 1 for j in range(1, count)}
    else:
        splits = _best_splits([matrices[0].shape[0], *(matrix.shape[1] for matrix in matrices)])
    made = {(i, i): matrix for i, matrix in enumerate(matrices)}
    waiting = [(0, count - 1)]
    while waiting:
        i, j = waiting[-1]
        parts = ((i, splits[i, j]), (splits[i, j] + 1, j))
        missing = [part for part in parts if part not in made]
        waiting += missing
        if not missing:
            made[waiting.pop()] = product(made[parts[0]], made[parts[1]])
    return made[0, count - 1]


@op(
    name="linalg.multi_dot",
    samples=(
        sample((real(2, 3), real(3, 4), real(4, 2))),
        sample((real(3), real(3, 4), real(4))),
        sample((real(2, 3), real(3))),
        sample((real(1, 5), real(5, 2), real(2, 5), real(5, 1))),
    ),
)
def multi_dot(tensors: tuple[Tensor, ...]) -> Tensor:
    """Product of two or more matrices, in the order with the fewest multiplications.

    The first may be a vector, used as a row, and the last a vector, used as a column. Source: torch.linalg.multi_dot.
    """
    if len(tensors) < 2:
        raise OpError(
            "missing_argument", f"a product needs two tensors, not {len(tensors)}", "Give at least two.", "tensors"
        )
    factors(tensors=tensors[0])
    for place, tensor in enumerate(tensors):
        require_one_dtype(tensors=tensors[0], others=tensor)
        if tensor.ndim != 2 and not (tensor.ndim == 1 and place in (0, len(tensors) - 1)):
            raise OpError(
                "shape_mismatch",
                f"tensor {place} has shape {list(tensor.shape)}",
                "All are matrices, but for the first and the last, which may be vectors.",
                "tensors",
            )
    first, last = tensors[0], tensors[-1]
    left = first if first.ndim == 2 else reshaped(first, (1, *first.shape))
    right = last if last.ndim == 2 else reshaped(last, (*last.shape, 1))
    matrices = [left, *tensors[1:-1], right]
    for place, (a, b) in enumerate(pairwise(matrices)):
        if a.shape[1] != b.shape[0]:
            raise OpError(
                "shape_mismatch",
                f"tensors {place} and {place + 1} do not fit: {a.shape[1]} columns meet {b.shape[0]} rows",
                "Each has as many rows as the one before has columns.",
                "tensors",
            )
    return reshaped(_chained(matrices), first.shape[:-1] + last.shape[1:])


# Powers


def _backward_name(op_name: str, input: Tensor, n: int) -> str:
    """Return PyTorch's grad_fn name if it computes the power by one op, else the op's own."""
    single = {-1: "LinalgInvExBackward0", 1: "CloneBackward0", 2: "MmBackward0" if input.ndim == 2 else None}
    return single.get(n) or camel(op_name)


@op(
    name="linalg.matrix_power",
    grad_fn=lambda given, out: _backward_name("linalg.matrix_power", given["A"], given["n"]),
    samples=(sample(spd(2, 2), 3), sample(real(2, 2, 2), 6), sample(spd(2, 2), -2), sample(spd(2, 2), 0)),
)
def matrix_power(A: Tensor, n: int) -> Tensor:
    """Power of square matrices by repeated squaring; a negative n inverts them first.

    (*batch, n, n) -> (*batch, n, n). Source: torch.linalg.matrix_power.
    """
    require_square(A)
    if n == 0:
        identity = expanded(eye(A.shape[-1], dtype=A.dtype), A.shape)
        return where(constant(False, bool_), A, identity)
    square, rest = (A, n) if n > 0 else (inverse(A), -n)
    power: Tensor | None = None
    while True:
        if rest % 2:
            power = square if power is None else product(power, square)
        rest //= 2
        if not rest:
            break
        square = product(square, square)
    assert power is not None
    return same(power) if power is A else power


@op(
    name="matrix_power",
    grad_fn=lambda given, out: _backward_name("matrix_power", given["input"], given["n"]),
    samples=(sample(spd(2, 2), 3), sample(spd(2, 2), -1)),
)
def matrix_power_(input: Tensor, n: int) -> Tensor:
    """Power of square matrices, the same as linalg.matrix_power. Source: torch.matrix_power."""
    return matrix_power(input, n)


# Dot products of a batch


@op(
    name="linalg.vecdot",
    grad_fn=lambda given, out: "LinalgVecdotBackward0" if out.ndim else "VdotBackward0",
    samples=(sample(real(2, 3), real(2, 3)), sample(real(3, 2), real(2), dim=0), sample(real(3), real(3))),
)
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Dot products along `dim`, which broadcast: (*batch, n), (*batch, n) -> (*batch). Source: torch.linalg.vecdot."""
    require_floating(x, "x")
    require_one_dtype(x=x, y=y)
    rank = len(broadcast_shapes([x.shape, y.shape]))
    return sum(mul(x, y), wrap_dim(dim, rank))
