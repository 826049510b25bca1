"""What PyTorch says: the values of a sample's results, and the gradients of every leaf for random seeds."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tests.conformance.samples import Sample

SEED = 20_240_229
"""Of the generator that cotangents come from."""


class NoTensors(Exception):
    """The call gives something that is no tensor and no sequence of tensors; the message says what."""


@dataclass(frozen=True)
class Reference:
    """Results, `seeds` of those that take part in the gradient (by position), and gradients in the leaves' order.

    `single` says that the op gives its value or values themselves and not a sequence of them.
    """

    outputs: tuple[torch.Tensor, ...]
    single: bool
    seeds: dict[int, torch.Tensor]
    leaves: tuple[torch.Tensor, ...]
    gradients: tuple[torch.Tensor | None, ...]


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make `dtype` PyTorch's default inside the `with` block, as a graph's `dtype` is."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def cotangents(outputs: tuple[torch.Tensor, ...]) -> dict[int, torch.Tensor]:
    """Return a random seed for each result that requires grad, by its position."""
    generator = torch.Generator().manual_seed(SEED)
    return {
        place: torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
        for place, output in enumerate(outputs)
        if output.requires_grad
    }


def results(value: Any) -> tuple[tuple[torch.Tensor, ...], bool]:
    """Return an op's results as a tuple, and whether it has a single one. Raises NoTensors."""
    if isinstance(value, torch.Tensor):
        value, single = (value,), True
    else:
        single = False
    if not isinstance(value, (tuple, list)) or not all(isinstance(item, torch.Tensor) for item in value):
        raise NoTensors(f"the result is {type(value).__name__}, no tensor")
    if any(item.layout is not torch.strided for item in value):
        raise NoTensors("the result is no dense tensor")
    return tuple(value), single


def evaluate(
    call: Callable[..., Any],
    sample: Sample,
    leaves: tuple[torch.Tensor, ...],
    default: torch.dtype,
    unsigned: tuple[int, ...] = (),
) -> Reference:
    """Run an op in PyTorch and differentiate it, of the results at `unsigned` taking the magnitude first.

    Raises what PyTorch raises, and NoTensors.
    """
    with default_dtype(default), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs, single = results(call(*sample.args, **sample.kwargs))
        outputs = tuple(output.abs() if place in unsigned else output for place, output in enumerate(outputs))
        return _differentiate(outputs, single, leaves)


def _differentiate(outputs: tuple[torch.Tensor, ...], single: bool, leaves: tuple[torch.Tensor, ...]) -> Reference:
    seeds = cotangents(outputs)
    active = [leaf for leaf in leaves if leaf.requires_grad]
    found: dict[int, torch.Tensor | None] = {}
    if seeds and active:
        roots = [outputs[place] for place in seeds]
        gradients = torch.autograd.grad(roots, active, list(seeds.values()), allow_unused=True)
        found = {id(leaf): gradient for leaf, gradient in zip(active, gradients, strict=True)}
    return Reference(outputs, single, seeds, leaves, tuple(found.get(id(leaf)) for leaf in leaves))
