"""One vocabulary for three backends: PyTorch, JAX, and a recorder that makes a request's graph of the same formulas.

A function of `functions/catalogue.py` is called with a backend and its arrays, and uses operators and these names only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import torch

jax.config.update("jax_enable_x64", True)


class Recorded:
    """A tensor of the graph that is being recorded: a name, with operators."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any) -> Recorded:
        return self.graph.call("add", self, other)

    def __radd__(self, other: Any) -> Recorded:
        return self.graph.call("add", self, other)

    def __sub__(self, other: Any) -> Recorded:
        return self.graph.call("sub", self, other)

    def __rsub__(self, other: Any) -> Recorded:
        return self.graph.call("sub", other, self)

    def __mul__(self, other: Any) -> Recorded:
        return self.graph.call("mul", self, other)

    def __rmul__(self, other: Any) -> Recorded:
        return self.graph.call("mul", self, other)

    def __truediv__(self, other: Any) -> Recorded:
        return self.graph.call("div", self, other)

    def __rtruediv__(self, other: Any) -> Recorded:
        return self.graph.call("div", other, self)

    def __pow__(self, other: Any) -> Recorded:
        return self.graph.call("pow", self, other)

    def __matmul__(self, other: Any) -> Recorded:
        return self.graph.call("matmul", self, other)

    def __neg__(self) -> Recorded:
        return self.graph.call("neg", self)


class Graph:
    """Records a request's graph; NumPy arrays that formulas meet become tensors that require no grad."""

    def __init__(self, arguments: dict[str, np.ndarray]) -> None:
        self.tensors: dict[str, Any] = {
            name: {"data": value.tolist(), "shape": list(value.shape), "requires_grad": True}
            for name, value in arguments.items()
        }
        self.ops: list[dict[str, Any]] = []

    def argument(self, name: str) -> Recorded:
        """Return an argument of the function."""
        return Recorded(self, name)

    def call(self, op: str, *inputs: Any, **attributes: Any) -> Recorded:
        """Record an op."""
        name = f"r{len(self.ops)}"
        call = {"op": op, "inputs": [self._input(value) for value in inputs], "output": name}
        self.ops.append({**call, "attributes": attributes} if attributes else call)
        return Recorded(self, name)

    def _input(self, value: Any) -> Any:
        if isinstance(value, Recorded):
            return value.name
        if isinstance(value, np.ndarray):
            name = f"c{len(self.tensors)}"
            self.tensors[name] = {"data": value.tolist(), "shape": list(value.shape)}
            return name
        if isinstance(value, list | tuple):
            return [self._input(item) for item in value]
        return value

    def as_request(self) -> dict[str, Any]:
        """Return the graph as the contract has it."""
        return {"tensors": self.tensors, "ops": self.ops}


class RecorderBackend:
    """The vocabulary as ops of the graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def constant(self, value: np.ndarray) -> Any:
        return value

    def unary(self, op: str, x: Any) -> Any:
        return self.graph.call(op, x)

    def sum(self, x: Any, dim: int | None = None) -> Any:
        return self.graph.call("sum", x) if dim is None else self.graph.call("sum", x, dim)

    def logsumexp(self, x: Any, dim: int) -> Any:
        return self.graph.call("logsumexp", x, dim)

    def softmax(self, x: Any, dim: int) -> Any:
        return self.graph.call("softmax", x, dim)

    def softplus(self, x: Any) -> Any:
        return self.graph.call("softplus", x)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return self.graph.call("reshape", x, list(shape))

    def transpose(self, x: Any) -> Any:
        return self.graph.call("transpose", x, -1, -2)

    def part(self, x: Any, start: int, length: int) -> Any:
        return self.graph.call("narrow", x, -1, start, length)

    def item(self, x: Any, index: int) -> Any:
        return self.graph.call("select", x, -1, index)

    def stack(self, xs: Sequence[Any]) -> Any:
        return self.graph.call("stack", list(xs), 0)

    def cholesky(self, x: Any) -> Any:
        return self.graph.call("linalg.cholesky", x)

    def solve(self, a: Any, b: Any) -> Any:
        return self.graph.call("linalg.solve", a, b)

    def logdet(self, x: Any) -> Any:
        graph = self.graph
        graph.ops.append({"op": "linalg.slogdet", "inputs": [x.name], "output": [None, f"r{len(graph.ops)}"]})
        return Recorded(graph, f"r{len(graph.ops) - 1}")

    def diagonal(self, x: Any) -> Any:
        return self.graph.call("diagonal", x)

    def ndtr(self, x: Any) -> Any:
        return (self.graph.call("erf", x / np.sqrt(2.0).item()) + 1.0) * 0.5

    def __getattr__(self, op: str) -> Any:
        return lambda x: self.unary(op, x)


class TorchBackend:
    """The vocabulary in PyTorch."""

    def __init__(self) -> None:
        self._torch = torch

    def constant(self, value: np.ndarray) -> Any:
        return self._torch.as_tensor(value)

    def sum(self, x: Any, dim: int | None = None) -> Any:
        return x.sum() if dim is None else x.sum(dim)

    def logsumexp(self, x: Any, dim: int) -> Any:
        return self._torch.logsumexp(x, dim)

    def softmax(self, x: Any, dim: int) -> Any:
        return self._torch.softmax(x, dim)

    def softplus(self, x: Any) -> Any:
        return self._torch.logaddexp(x, self._torch.zeros_like(x))  # without PyTorch's threshold

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return x.reshape(tuple(shape))

    def transpose(self, x: Any) -> Any:
        return x.transpose(-1, -2)

    def part(self, x: Any, start: int, length: int) -> Any:
        return x[..., start : start + length]

    def item(self, x: Any, index: int) -> Any:
        return x[..., index]

    def stack(self, xs: Sequence[Any]) -> Any:
        return self._torch.stack(list(xs))

    def cholesky(self, x: Any) -> Any:
        return self._torch.linalg.cholesky(x)

    def solve(self, a: Any, b: Any) -> Any:
        return self._torch.linalg.solve(a, b)

    def logdet(self, x: Any) -> Any:
        return self._torch.linalg.slogdet(x)[1]

    def diagonal(self, x: Any) -> Any:
        return self._torch.diagonal(x)

    def ndtr(self, x: Any) -> Any:
        return (self._torch.erf(x / np.sqrt(2.0).item()) + 1.0) * 0.5

    def __getattr__(self, op: str) -> Any:
        return getattr(self._torch, op)


class JaxBackend:
    """The vocabulary in JAX, in double precision."""

    def __init__(self) -> None:
        self._jax, self._numpy = jax, jax.numpy

    def constant(self, value: np.ndarray) -> Any:
        return self._numpy.asarray(value)

    def sum(self, x: Any, dim: int | None = None) -> Any:
        return self._numpy.sum(x, axis=dim)

    def logsumexp(self, x: Any, dim: int) -> Any:
        return self._jax.scipy.special.logsumexp(x, axis=dim)

    def softmax(self, x: Any, dim: int) -> Any:
        return self._jax.nn.softmax(x, axis=dim)

    def softplus(self, x: Any) -> Any:
        return self._jax.nn.softplus(x)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return x.reshape(tuple(shape))

    def transpose(self, x: Any) -> Any:
        return self._numpy.swapaxes(x, -1, -2)

    def part(self, x: Any, start: int, length: int) -> Any:
        return x[..., start : start + length]

    def item(self, x: Any, index: int) -> Any:
        return x[..., index]

    def stack(self, xs: Sequence[Any]) -> Any:
        return self._numpy.stack(list(xs))

    def cholesky(self, x: Any) -> Any:
        return self._numpy.linalg.cholesky(x)

    def solve(self, a: Any, b: Any) -> Any:
        return self._numpy.linalg.solve(a, b)

    def logdet(self, x: Any) -> Any:
        return self._numpy.linalg.slogdet(x)[1]

    def diagonal(self, x: Any) -> Any:
        return self._numpy.diagonal(x)

    def ndtr(self, x: Any) -> Any:
        return (self._jax.scipy.special.erf(x / np.sqrt(2.0).item()) + 1.0) * 0.5

    def __getattr__(self, op: str) -> Any:
        return getattr(self._numpy, op)
