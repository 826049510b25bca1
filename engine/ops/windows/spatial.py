"""Register ops in one, two and three spatial dimensions from one definition: `conv` registers `conv1d` to `conv3d`.

The convolution and pooling modules use it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from engine.graph.op import GradFn, op
from engine.graph.samples import Sample

F = TypeVar("F", bound=Callable[..., Any])

_WORDS: dict[int, dict[str, str]] = {
    1: {"images": "(N, C, L) or (C, L)", "of_index": "", "kernel": "k"},
    2: {"images": "(N, C, H, W) or (C, H, W)", "of_index": " in H x W", "kernel": "kh, kw"},
    3: {"images": "(N, C, D, H, W) or (C, D, H, W)", "of_index": " in D x H x W", "kernel": "kd, kh, kw"},
}
"""Texts for docstrings, by the number of dimensions."""


def spatial_op(
    samples: Mapping[int, Sequence[Sample]],
    grad_fn: Callable[[int], GradFn | None] = lambda dims: None,
    omitted: Mapping[int, Collection[str]] = MappingProxyType({}),
) -> Callable[[F], F]:
    """Register an op for each number of dimensions that has samples, named after it: `conv` becomes `conv2d`.

    The function takes the number as keyword `dims`, which is not a parameter of the ops. Its docstring is a format
    string with `{dims}`, `{images}` (their shapes), `{of_index}` (meaning of an index) and `{kernel}` (its sizes).
    `grad_fn` returns PyTorch's name of the backward node for a number of dimensions, as in `engine.graph.op.op`.
    `omitted` contains the parameters that the op does not have, by number of dimensions; they have their defaults.
    """

    def decorate(function: F) -> F:
        for dims, drawn in samples.items():
            op(grad_fn=grad_fn(dims), samples=drawn)(_in_dimensions(function, dims, omitted.get(dims, ())))
        return function

    return decorate


def _in_dimensions(function: Callable[..., Any], dims: int, omitted: Collection[str]) -> Callable[..., Any]:
    """Return the function for a number of dimensions, with the name, signature and docstring of the op.

    The signature does not contain the parameters in `omitted`.
    """

    @functools.wraps(function)
    def fixed(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs, dims=dims)

    signature = inspect.signature(function)
    kept = [parameter for name, parameter in signature.parameters.items() if name not in {"dims", *omitted}]
    fixed.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    fixed.__name__ = f"{function.__name__}{dims}d"
    fixed.__doc__ = (function.__doc__ or "").format(dims=dims, **_WORDS[dims])
    return fixed
