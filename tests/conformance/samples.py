"""The inputs that ops are tried with: PyTorch's own samples (`op_db`) and, for what it lacks, those of
`extra_samples`. Everything else in this suite sees an op as the record `Op` and an input as a `Sample`.
"""

from __future__ import annotations

import functools
import os
import random
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it names packages that it could use
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.opinfo.core import OpInfo

    from tests.conformance.extra_samples import EXTRA, SAME_SAMPLES, Extra

SAMPLES_PER_OP = int(os.environ.get("CONFORMANCE_SAMPLES", "40"))
"""How many samples of an op are run, and as many of its reference inputs, spread over their lists; 0 runs them all."""

LARGEST = 1100
"""How many elements a reference input may have; the few that have a million would be most of the run."""

REFUSED_BY_TORCH = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)
"""What PyTorch raises on arguments that it does not take. A failed assertion is not among them."""


@dataclass(frozen=True)
class Sample:
    """One call: positional and keyword arguments as PyTorch's list has them."""

    label: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Op:
    """An op with the samples of one or several entries of PyTorch's list under one public name.

    `forward_ad` and `double_backward` say which of PyTorch's own ways to derivatives its list tells that it has.
    """

    name: str
    entry: str
    variant: str
    call: Callable[..., Any]
    dtypes: frozenset[torch.dtype]
    differentiable: bool
    forward_ad: bool
    double_backward: bool
    draw: Callable[[torch.dtype, bool], Iterable[Any]]
    draw_more: Callable[[torch.dtype, bool], Iterable[Any]]
    draw_errors: Callable[[], Iterable[Any]]

    @property
    def key(self) -> str:
        """The name and variant, for a report."""
        return f"{self.name} [{self.variant}]" if self.variant else self.name

    def samples(self, dtype: torch.dtype, *, reference_inputs: bool) -> Iterator[Sample]:
        """Yield samples in `dtype`, the same ones on every run, their tensors being leaves of their own.

        There are none in a dtype that the op does not take. `reference_inputs` adds PyTorch's wider list: more shapes,
        large and infinite values, NaN.
        """
        if dtype not in self.dtypes:
            return
        _seed(self.name)
        requires_grad = self.differentiable and dtype.is_floating_point
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn = [replace(fresh(s), label=f"sample {i}") for i, s in _spread(self.draw(dtype, requires_grad))]
            if reference_inputs:
                more = [sample for sample in self.draw_more(dtype, requires_grad) if _size(sample) <= LARGEST]
                drawn += [replace(fresh(s), label=f"reference input {i}") for i, s in _spread(more)]
        yield from drawn

    def errors(self) -> Iterator[Sample]:
        """Yield calls that PyTorch's list says it refuses."""
        _seed(self.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            drawn = [fresh(error.sample_input) for error in self.draw_errors()]
        for index, sample in enumerate(drawn):
            yield replace(sample, label=f"error {index}")


def _seed(name: str) -> None:
    """Seed every generator that PyTorch's lists draw from, by the op's name, so that one op alone gets the same."""
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (PyTorch's lists draw from the global generator)


def _spread(drawn: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    items = list(drawn)
    if not SAMPLES_PER_OP or len(items) <= SAMPLES_PER_OP:
        yield from enumerate(items)
    else:
        yield from ((int(i), items[int(i)]) for i in np.linspace(0, len(items) - 1, SAMPLES_PER_OP))


def fresh(sample: Any) -> Sample:
    """Return a sample whose tensors are contiguous leaves. A tensor that stands twice stays one tensor."""
    known: dict[int, torch.Tensor] = {}

    def leaf(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
            return value
        if id(value) not in known:
            copy = value.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
            known[id(value)] = copy.requires_grad_(value.requires_grad)
        return known[id(value)]

    args = tree_map(leaf, (sample.input, *sample.args))
    return Sample("", args, tree_map(leaf, dict(sample.kwargs)))


def _public(name: str) -> str:
    return name.removeprefix("nn.functional.").removeprefix("torch.")


def _reference_inputs(info: OpInfo, dtype: torch.dtype, requires_grad: bool) -> list[Any]:
    if info.reference_inputs_func is None:
        return []
    try:
        return list(info.reference_inputs("cpu", dtype, requires_grad=requires_grad))
    except (RuntimeError, ValueError):  # some of them ask gradients of integers
        return list(info.reference_inputs("cpu", dtype, requires_grad=False))


def _size(sample: Any) -> int:
    tensors = (value for value in tree_leaves((sample.input, sample.args)) if isinstance(value, torch.Tensor))
    return max((tensor.numel() for tensor in tensors), default=0)


def _listed(info: OpInfo, name: str) -> Op:
    return Op(
        name=name,
        entry=_public(info.name),
        variant=info.variant_test_name,
        call=info.op,
        dtypes=frozenset(info.dtypes),
        differentiable=info.supports_autograd,
        forward_ad=info.supports_forward_ad,
        double_backward=info.supports_gradgrad,
        draw=lambda dtype, requires_grad: info.sample_inputs("cpu", dtype, requires_grad=requires_grad),
        draw_more=lambda dtype, requires_grad: _reference_inputs(info, dtype, requires_grad),
        # What an alias refuses is not listed: PyTorch tries the errors with the op's own name alone.
        draw_errors=lambda: info.error_inputs("cpu") if info.error_inputs_func and name == _public(info.name) else (),
    )


def _extra(extra: Extra) -> Op:
    return Op(
        name=extra.name,
        entry=extra.name,
        variant="",
        call=extra.call,
        dtypes=frozenset(extra.dtypes),
        differentiable=True,
        forward_ad=True,
        double_backward=True,
        draw=extra.samples,
        draw_more=lambda *_: (),
        draw_errors=lambda: (),
    )


@functools.cache
def ops() -> dict[str, tuple[Op, ...]]:
    """Return every op that has samples, by public name; an alias has the samples of what it stands for."""
    found: dict[str, list[Op]] = {}
    for info in op_db:
        names = {_public(info.name), *(_public(alias.name) for alias in info.aliases)}
        for name in sorted(names):
            found.setdefault(name, []).append(_listed(info, name))
    for extra in EXTRA:
        found.setdefault(extra.name, []).append(_extra(extra))
    for name, same in SAME_SAMPLES.items():
        found[name] = [replace(entry, name=name) for entry in found[same]]
    return {name: tuple(entries) for name, entries in sorted(found.items())}
