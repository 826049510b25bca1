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
Calls = Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]


@dataclass(frozen=True)
class Extra:
    """An op by public name. `calls` gives (input, arguments, keyword arguments), making tensors by shape."""

    name: str
    call: Callable[..., Any]
    calls: Callable[[Make], Calls]
    dtypes: tuple[torch.dtype, ...] = _FLOATING

    def samples(self, dtype: torch.dtype, requires_grad: bool) -> Iterator[SampleInput]:
        """Yield the samples, as an entry of PyTorch's list does."""

        def make(*shape: int, **options: Any) -> torch.Tensor:
            return make_tensor(shape, dtype=dtype, device="cpu", requires_grad=requires_grad, **options)

        for first, args, kwargs in self.calls(make):
            yield SampleInput(first, args=args, kwargs=kwargs)


def _shapes(make: Make) -> Calls:
    for shape in ((), (3,), (2, 3), (0, 2)):
        yield make(*shape), (), {}


def _certain_dropout(make: Make) -> Calls:
    for kwargs in ({"p": 0.0}, {"p": 1.0}, {"p": 0.5, "training": False}):
        for shape in ((2, 3), (2, 3, 4)):
            yield make(*shape), (), kwargs


def _random_shape(make: Make) -> Calls:
    yield (2, 3), (), {}


def _lengths(make: Make) -> Calls:
    for kwargs in ({}, {"d": 0.5}):
        for n in (1, 4, 5):
            yield n, (), kwargs


def _columns(make: Make) -> Calls:
    for kwargs in ({}, {"stride": 2}, {"padding": 1, "stride": 3}, {"dilation": 2}):
        unfolded = torch.nn.functional.unfold(torch.zeros(2, 3, 6, 7), (2, 3), **kwargs)
        yield make(*unfolded.shape), ((6, 7), (2, 3)), kwargs
    yield make(12, 20), ((5, 6), (2, 2)), {}


def _powers(*sizes: int) -> Callable[[Make], Calls]:
    def calls(make: Make) -> Calls:
        for norm_type in (1.0, 2.0, 3.0):
            for kwargs in ({}, {"stride": 1}, {"ceil_mode": True}):
                yield make(2, 3, *sizes, low=0.5), (norm_type, 3), kwargs

    return calls


def _affine(make: Make) -> Calls:
    for align_corners in (False, True):
        yield make(2, 2, 3), ((2, 1, 3, 4),), {"align_corners": align_corners}
        yield make(2, 3, 4), ((2, 1, 2, 3, 4),), {"align_corners": align_corners}


_functional = torch.nn.functional

EXTRA = (
    Extra("detach", torch.Tensor.detach, _shapes),
    Extra("dropout1d", _functional.dropout1d, _certain_dropout),
    Extra("rand", torch.rand, _random_shape),
    Extra("fft.fftfreq", torch.fft.fftfreq, _lengths),
    Extra("fft.rfftfreq", torch.fft.rfftfreq, _lengths),
    Extra("fold", _functional.fold, _columns),
    Extra("lp_pool1d", _functional.lp_pool1d, _powers(7)),
    Extra("lp_pool2d", _functional.lp_pool2d, _powers(7, 6)),
    Extra("affine_grid", _functional.affine_grid, _affine),
)

SAME_SAMPLES = {"slogdet": "linalg.slogdet"}
"""Names that PyTorch's list lacks, and the op whose samples they take."""
