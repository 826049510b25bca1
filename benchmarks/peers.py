"""Peer libraries of gradd: each function makes a contestant of a loss function.

A loss takes its tensors in the order of `values`. The contestant returns the loss and its gradients by `wrt`. A library
is imported only when its contestant is prepared, so a process that measures memory loads only one library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from benchmarks.threads import THREADS
from benchmarks.workload import Array, Prepare, Run


@cache
def torch() -> Any:
    """Return PyTorch, with the same number of threads as all contestants."""
    import torch as module  # noqa: PLC0415

    module.set_num_threads(THREADS)
    return module


@cache
def jax() -> Any:
    """Return JAX on the CPU, with double precision if a workload needs it."""
    import jax as module  # noqa: PLC0415

    module.config.update("jax_platforms", "cpu")
    module.config.update("jax_enable_x64", True)
    return module


def by_torch(loss: Callable[..., Any], values: Mapping[str, Array], wrt: Sequence[str]) -> Prepare:
    """Return a contestant with eager PyTorch: `loss(torch, *tensors)`, then backward."""

    def prepare() -> Run:
        module = torch()
        tensors = {name: module.from_numpy(value).requires_grad_(name in wrt) for name, value in values.items()}
        leaves = [tensors[name] for name in wrt]

        def run() -> Sequence[Any]:
            value = loss(module, *tensors.values())
            return (value.detach(), *module.autograd.grad(value, leaves))

        return run

    return prepare


def by_jax(loss: Callable[..., Any], values: Mapping[str, Array], wrt: Sequence[str]) -> Prepare:
    """Return a contestant with `jax.jit` of `jax.value_and_grad` of `loss(jax, *arrays)`; it waits for the result."""

    def prepare() -> Run:
        module = jax()
        positions = tuple(list(values).index(name) for name in wrt)
        compiled = module.jit(module.value_and_grad(lambda *arrays: loss(module, *arrays), positions))
        arrays = list(map(module.numpy.asarray, values.values()))

        def run() -> Sequence[Any]:
            value, gradients = module.block_until_ready(compiled(*arrays))
            return (value, *gradients)

        return run

    return prepare


def by_autograd(loss: Callable[..., Any], values: Mapping[str, Array], wrt: Sequence[str]) -> Prepare:
    """Return a contestant with HIPS autograd: `loss(autograd.numpy, *arrays)` and its gradients."""

    def prepare() -> Run:
        import autograd  # noqa: PLC0415
        import autograd.numpy as wrapped  # noqa: PLC0415

        positions = tuple(list(values).index(name) for name in wrt)
        both = autograd.value_and_grad(lambda *arrays: loss(wrapped, *arrays), positions)

        def run() -> Sequence[Any]:
            value, gradients = both(*values.values())
            return (value, *gradients)

        return run

    return prepare
