"""Kernels of attention and its gradients, in blocks of heads, so that scores stay in cache between products.

`engine.ops.nn.attention` calls `attended`. The softmax is a second result of the primitive, which its gradients read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import prod

import numpy as np

from engine.graph.graph import Node, Tensor, Type
from engine.graph.primitive import primitive
from engine.graph.threads import CORES, shared
from engine.graph.traits import START, arrays
from engine.graph.types import Shape, broadcast_shapes, numel
from engine.ops.linalg.matmul import of_rank, product
from engine.ops.nn.softmax import softmax_of_visible
from engine.ops.reduction.sums import summed
from engine.ops.shape.movement import expanded, matrix_transpose

Index = tuple[int | slice, ...]

BLOCK = 2**19
"""Bytes of scores in a block.

A smaller block fits the cache better, but its calls are so short that two threads wait for the interpreter lock: 32
heads of 128 by 128 scores in float32 take 1.9 ms in blocks of 2**17 bytes, 1.7 ms of 2**18, 1.4 ms of 2**19.
"""

_WORTH_CORES = 2**21
"""Minimum of scores times features to use several cores: 0.1 ms on one core."""


# Forward


_SOFTMAX = 20
"""Operations for each score, matrix products excluded."""


def _operations(node: Node) -> int:
    """Two products and a softmax over scores (*batch, L, S), with E query features and V value features."""
    query, _, value = node.inputs[:3]
    return node.outputs[1].numel * (2 * (query.shape[-1] + value.shape[-1]) + _SOFTMAX)


def _effort(node: Node) -> int:
    return _operations(node) + 3 * START * prod(node.outputs[1].shape[:-2])


def _operations_of_gradients(node: Node) -> int:
    """Four products, and the gradient of softmax."""
    _, _, weights, query, _, value = node.inputs
    return 4 * weights.numel * (query.shape[-1] + value.shape[-1]) + 2 * (weights.numel + value.numel)


def _effort_of_gradients(node: Node) -> int:
    return _operations_of_gradients(node) + 6 * START * prod(node.inputs[2].shape[:-2])


@primitive(cost=_operations, effort=_effort, memory=arrays(2), trailing=2, blas=True)
def _attention(*tensors: Tensor, scale: float) -> tuple[Type, Type]:
    """`softmax(query @ key.T * scale + mask) @ value`, and the softmax.

    query (*batch, L, E), key (*batch, S, E), value (*batch, S, V) -> (*batch, L, V), (*batch, L, S). The optional mask
    broadcasts; it is bool, true for a key that takes part, or numbers to add.
    """
    query, key, value = tensors[:3]
    rows = query.shape[:-1]
    return Type(query.dtype, (*rows, value.shape[-1])), Type(query.dtype, (*rows, key.shape[-2]))


@_attention.kernel
def _(*arrays: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    query, key, value = arrays[:3]
    rows = query.shape[:-1]
    result = _laid_out(query, (*rows, value.shape[-1]))
    weights = np.empty((*rows, key.shape[-2]), query.dtype)
    _by_heads(partial(_attend, scale=scale), weights, result, *arrays)
    return result, weights


def _attend(
    weights: np.ndarray,
    result: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    scale: float,
) -> None:
    """Write the weights and results of some heads."""
    np.matmul(_scaled(query, scale), _for_blas(key).swapaxes(-1, -2), out=weights)
    softmax_of_visible(weights, mask)
    np.matmul(weights, _for_blas(value), out=result)


@_attention.vjp
def _(
    grads: Sequence[Tensor | None], outs: tuple[Tensor, Tensor], *tensors: Tensor, scale: float
) -> tuple[Tensor | None, ...]:
    grad, by_weights = grads
    result, weights = outs
    query, key, value, *masks = tensors
    by_masks: tuple[Tensor | None, ...] = (None,) * len(masks)
    if by_weights is None:
        assert grad is not None
        by_inputs: Sequence[Tensor | None] = _attention_gradients(grad, result, weights, query, key, value, scale=scale)
        if any(mask.requires_grad for mask in masks):
            by_masks = (_by_scores(weights, product(grad, matrix_transpose(value))),)
        return (*by_inputs, *by_masks)
    slopes = by_weights if grad is None else by_weights + product(grad, matrix_transpose(value))
    by_scores = _by_scores(weights, slopes)
    return (
        product(by_scores, key) * scale,
        product(matrix_transpose(by_scores), query * scale),
        None if grad is None else product(matrix_transpose(weights), grad),
        *((by_scores,) if masks else ()),
    )


def _by_scores(weights: Tensor, slopes: Tensor) -> Tensor:
    """The cotangent of the scores, given the cotangent `slopes` of their softmax."""
    return weights * (slopes - summed(weights * slopes, (-1,), keepdim=True))


# Backward


@primitive(cost=_operations_of_gradients, effort=_effort_of_gradients, memory=arrays(3), trailing=2, blas=True)
def _attention_gradients(
    grad: Tensor, result: Tensor, weights: Tensor, query: Tensor, key: Tensor, value: Tensor, *, scale: float
) -> tuple[Type, Type, Type]:
    """The cotangents of query, key and value, given the cotangent of the result.

    The gradient of a row of scores is `weights * (grad @ value.T - sum(grad * result))`: the softmax gradient's sum
    over weights equals a sum over features. Source: Dao et al. 2022, "FlashAttention", appendix B.2.
    """
    return Type(query.dtype, query.shape), Type(key.dtype, key.shape), Type(value.dtype, value.shape)


@_attention_gradients.kernel
def _(
    grad: np.ndarray,
    result: np.ndarray,
    weights: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    scale: float,
) -> tuple[np.ndarray, ...]:
    found = tuple(_laid_out(array, array.shape) for array in (query, key, value))
    _by_heads(partial(_pull_back, scale=scale), weights, *found, grad, result, query, key, value)
    return found


def _pull_back(
    weights: np.ndarray,
    by_query: np.ndarray,
    by_key: np.ndarray,
    by_value: np.ndarray,
    grad: np.ndarray,
    result: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    scale: float,
) -> None:
    """Write the gradients of some heads."""
    grad = _for_blas(grad)
    np.matmul(weights.swapaxes(-1, -2), grad, out=by_value)
    by_scores = np.matmul(grad, _for_blas(value).swapaxes(-1, -2))
    by_scores -= np.einsum("...v,...v->...", grad, result)[..., None]
    by_scores *= weights
    np.matmul(by_scores, _for_blas(key), out=by_query)
    by_query *= scale
    np.matmul(by_scores.swapaxes(-1, -2), _scaled(query, scale), out=by_key)


@_attention_gradients.vjp
def _(
    grads: Sequence[Tensor | None], outs: tuple[Tensor, ...], *tensors: Tensor, scale: float
) -> tuple[Tensor | None, ...]:
    grad, result, weights, query, key, value = tensors
    to_query, to_key, to_value = grads
    slopes = product(grad, matrix_transpose(value)) - summed(grad * result, (-1,), keepdim=True)
    by_grad = by_result = by_weights = by_query = by_key = by_value = None
    towards = _added(
        None if to_query is None else product(to_query * scale, matrix_transpose(key)),
        None if to_key is None else product(query * scale, matrix_transpose(to_key)),
    )
    if towards is not None:
        by_scores, by_slopes = weights * slopes, weights * towards
        lost = -summed(by_slopes, (-1,), keepdim=True)
        by_grad, by_result = product(by_slopes, value) + lost * result, lost * grad
        by_weights, by_value = towards * slopes, product(matrix_transpose(by_slopes), grad)
        by_query = None if to_key is None else product(by_scores, to_key) * scale
        by_key = None if to_query is None else product(matrix_transpose(by_scores), to_query * scale)
    if to_value is not None:
        by_grad = _added(by_grad, product(weights, to_value))
        by_weights = _added(by_weights, product(grad, matrix_transpose(to_value)))
    return by_grad, by_result, by_weights, by_query, by_key, by_value


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return first or second
    return first + second


# Blocks of heads


def _by_heads(function: Callable[..., None], weights: np.ndarray, *arrays: np.ndarray) -> None:
    """Call the function for each block of heads of the weights and arrays; a batch size of an array may be 1."""
    batch, scores = weights.shape[:-2], weights.shape[-2:]
    count = CORES if weights.size * arrays[0].shape[-1] >= _WORTH_CORES else 1
    most = BLOCK // max(1, numel(scores) * weights.itemsize)
    blocks = _blocks(batch, max(1, min(most, -(-numel(batch) // count))))

    def run(start: int, stop: int) -> None:
        with np.errstate(all="ignore"):
            for index in blocks[start:stop]:
                function(*[_at(array, index) for array in (weights, *arrays)])

    ends = [len(blocks) * part // count for part in range(count + 1)]
    shared(run, list(pairwise(ends)))


def _blocks(batch: Shape, heads: int) -> list[Index]:
    """Return indices that cover the batch axes, each of at most `heads` heads."""
    axis, run = len(batch), 1
    while axis and run * batch[axis - 1] <= heads:
        axis -= 1
        run *= batch[axis]
    if not axis:
        return [()]
    *outer, size = batch[:axis]
    step = heads // run
    return [(*place, slice(at, at + step)) for place in np.ndindex(*outer) for at in range(0, size, step)]


def _at(array: np.ndarray, index: Index) -> np.ndarray:
    """Return a view of a block of an array; an axis of size 1 broadcasts."""
    places = zip(index, array.shape, strict=False)
    part: np.ndarray = array[
        tuple(place if size > 1 else 0 if isinstance(place, int) else slice(None) for place, size in places)
    ]
    return part


def _laid_out(like: np.ndarray, shape: Shape) -> np.ndarray:
    """Return an empty array with the axis order of `like` in memory, so that its transposes are also views."""
    return np.empty_like(like, shape=shape) if like.strides[-1] == like.itemsize else np.empty(shape, like.dtype)


def _for_blas(array: np.ndarray) -> np.ndarray:
    """Return the matrices with row strides that BLAS accepts."""
    near, far = array.itemsize, array.itemsize * array.shape[-1]
    return array if array.strides[-1] == near and array.strides[-2] >= far else np.ascontiguousarray(array)


def _scaled(query: np.ndarray, scale: float) -> np.ndarray:
    return np.multiply(query, scale, order="C")


# What ops call


def attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """`softmax(query @ key.T * scale + mask) @ value`, of one dtype, with broadcasting batch dimensions.

    A bool mask is true for a key that takes part; any other mask is added. It broadcasts to (*batch, L, S).
    """
    batch = broadcast_shapes([query.shape[:-2], key.shape[:-2], value.shape[:-2]])
    operands = [expanded(tensor, (*batch, *tensor.shape[-2:])) for tensor in (query, key, value)]
    if mask is not None:
        operands.append(of_rank(mask, len(batch) + 2))
    return _attention(*operands, scale=scale)[0]
