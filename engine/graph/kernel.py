"""Kinds of kernels, and what a primitive may say of the kernel for a node: the words between ops and an executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.graph.graph import Node

Kernel = Callable[..., Any]


class Lowered(NamedTuple):
    """What runs a node: `kernel(*arrays, *extra, **params)`."""

    kernel: Kernel
    extra: tuple[Any, ...] = ()
    params: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class InSingle:
    """A kernel that runs float16 as float32: its intermediate results need more than float16 has."""

    kernel: Kernel

    def __call__(self, *arrays: np.ndarray, **params: Any) -> Any:
        """Return what the kernel gives, in float16 where the first array has it."""
        if arrays[0].dtype != np.float16:
            return self.kernel(*arrays, **params)
        return self.kernel(*[array.astype(np.float32) for array in arrays], **params).astype(np.float16)


@dataclass(frozen=True, slots=True)
class Writing:
    """A kernel that can be told where to write, as a ufunc can: in an array `out`. It has no other parameters."""

    kernel: Kernel

    def __call__(self, *arrays: np.ndarray, out: np.ndarray | None = None) -> Any:
        """Return what the kernel gives, in `out` if that is given."""
        return self.kernel(*arrays, out=out)


def writes_into(node: Node) -> bool:
    """Whether the primitive's kernel can be told where to write."""
    return isinstance(node.primitive.run, (np.ufunc, Writing))
