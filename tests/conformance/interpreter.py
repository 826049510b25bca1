"""The contract in miniature: runs a request's graph with PyTorch. It knows nothing of how requests are written here, so
that agreeing with PyTorch called directly proves the request builder before any server answers it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tests.conformance.parameters import function, parameters
from tests.conformance.reference import default_dtype, results
from tests.conformance.wire import DTYPES, read_number, read_tensor


@dataclass(frozen=True)
class Reply:
    """Values and gradients by name, as the server's reply has them."""

    outputs: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor | None]


def _spread(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return `call` taking its tensors one by one, or as a sequence under their documented name."""

    def spread(*tensors: Any, **keywords: Any) -> Any:
        return call(*(tensors[0] if tensors and isinstance(tensors[0], tuple) else tensors), **keywords)

    return spread


SPREAD: dict[str, Callable[..., Any]] = {
    "einsum": lambda operands, equation: torch.einsum(equation, *operands),
    **{
        name: _spread(function(name).call)
        for name in (
            "atleast_1d",
            "atleast_2d",
            "atleast_3d",
            "block_diag",
            "broadcast_tensors",
            "cartesian_prod",
            "meshgrid",
        )
    },
}
"""Functions that take any number of tensors."""


def run(request: dict[str, Any]) -> Reply:
    """Return what a `/v1/gradients` (with `backward`) or `/v1/forward` request asks for."""
    default = DTYPES[request["graph"].get("dtype", "float64")]
    values, leaves = computed(request["graph"])
    outputs = {name: values[name].detach() for name in request["outputs"]}
    return Reply(outputs, _gradients(request.get("backward", {}), values, leaves, default))


def computed(graph: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return all values of a graph by name, with their history, and the leaves that require grad."""
    default = DTYPES[graph.get("dtype", "float64")]
    values: dict[str, torch.Tensor] = {}
    for name, tensor in graph["tensors"].items():
        values[name] = read_tensor(tensor, default)
        if isinstance(tensor, dict) and tensor.get("requires_grad"):
            values[name].requires_grad_()
    leaves = {name: tensor for name, tensor in values.items() if tensor.requires_grad}
    with default_dtype(default), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for op in graph["ops"]:
            _apply(op, values)
    return values, leaves


def _gradients(
    backward: dict[str, Any], values: dict[str, torch.Tensor], leaves: dict[str, torch.Tensor], default: torch.dtype
) -> dict[str, torch.Tensor | None]:
    if not backward or not leaves:
        return {}
    seeds = [read_tensor(seed, default) for seed in backward.values()]
    roots = [values[name] for name in backward]
    gradients = torch.autograd.grad(roots, list(leaves.values()), seeds, allow_unused=True)
    return dict(zip(leaves, gradients, strict=True))


def _apply(op: dict[str, Any], values: dict[str, torch.Tensor]) -> None:
    name, inputs, output = op["op"], op["inputs"], op["output"]
    keywords = {key: _attribute(value) for key, value in op.get("attributes", {}).items()}
    if isinstance(inputs, dict):
        positional, by_name = [], {key: _argument(value, values) for key, value in inputs.items()}
    else:
        positional, by_name = [_argument(value, values) for value in inputs], {}
    with torch.set_grad_enabled(not op.get("no_grad", False)):
        result = _call(name, positional, by_name | keywords)
    found, single = results(result)
    names = [output] if single else output
    if single is not isinstance(output, str) or len(names) != len(found):
        raise ValueError(f"{name}: {len(found)} results for the names {output}")
    values.update((key, value) for key, value in zip(names, found, strict=True) if key is not None)


def _argument(value: Any, values: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, str):
        return values[value]
    if isinstance(value, list):
        return tuple(_argument(item, values) for item in value)
    return _literal(value)


def _attribute(value: Any) -> Any:
    if isinstance(value, str):
        return DTYPES.get(value, value)
    if isinstance(value, list):
        return tuple(_attribute(item) for item in value)
    return _literal(value)


def _literal(value: Any) -> Any:
    if isinstance(value, dict):
        number = value["number"]
        return complex(*map(read_number, number)) if isinstance(number, list) else read_number(number)
    return value


def _call(name: str, positional: list[Any], keywords: dict[str, Any]) -> Any:
    """Call a function with its arguments as they are given, or with as many as possible by position.

    Python's names for the parameters of PyTorch's compiled functions are not always the documented ones.
    """
    call = SPREAD.get(name) or function(name).call
    try:
        return call(*positional, **keywords)
    except TypeError:
        given = dict(keywords)
        names = [key for key in parameters(name, positional, keywords) if key in given]
        return call(*positional, *(given.pop(key) for key in names), **given)
