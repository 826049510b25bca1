"""Samples of ops that PyTorch's own list lacks, in the form of its list: an `Extra` per op, with the function, the
dtypes and the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.testing import make_tensor
from torch.testing._internal.opinfo.core import SampleInput

_FLOATING = (torch.float32, torch.float64)

Make = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Extra:
    """An op by public name. `calls` gives (input, arguments, keyword arguments), making tensors by shape."""

    name: str
    call: Callable[..., Any]
    calls: Callable[[Make], Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]]
    dtypes: tuple[torch.dtype, ...] = _FLOATING

    def samples(self, dtype: torch.dtype, requires_grad: bool) -> Iterator[SampleInput]:
        """Yield the samples, as an entry of PyTorch's list does."""

        def make(*shape: int, **options: Any) -> torch.Tensor:
            return make_tensor(shape, dtype=dtype, device="cpu", requires_grad=requires_grad, **options)

        for first, args, kwargs in self.calls(make):
            yield SampleInput(first, args=args, kwargs=kwargs)


def _shapes(make: Make) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    for shape in ((), (3,), (2, 3), (0, 2)):
        yield make(*shape), (), {}


EXTRA = (Extra("detach", torch.Tensor.detach, _shapes),)
