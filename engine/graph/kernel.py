"""Kinds of kernels, and the result type of lowering rules. Ops define kernels with these types; executors read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.graph.graph import Node

Kernel = Callable[..., Any]


class Lowered(NamedTuple):
    """The call that runs a node: `kernel(*arrays, *extra, **params)`."""

    kernel: Kernel
    extra: tuple[Any, ...] = ()
    params: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class InSingle:
    """A kernel that computes float16 in float32, because its intermediate results need the precision or range."""

    kernel: Kernel

    def __call__(self, *arrays: np.ndarray, **params: Any) -> Any:
        """Return the result of the kernel, converted to float16 if the first array is float16."""
        if arrays[0].dtype != np.float16:
            return self.kernel(*arrays, **params)
        return self.kernel(*[array.astype(np.float32) for array in arrays], **params).astype(np.float16)


@dataclass(frozen=True, slots=True)
class Writing:
    """A kernel that can write to an array `out`, like a ufunc. It has no other parameters."""

    kernel: Kernel

    def __call__(self, *arrays: np.ndarray, out: np.ndarray | None = None) -> Any:
        """Return the result of the kernel, in `out` if it is given."""
        return self.kernel(*arrays, out=out)


def writes_into(node: Node) -> bool:
    """Whether the kernel of the primitive accepts `out`."""
    return isinstance(node.primitive.run, (np.ufunc, Writing))
