"""The contract's calls beside gradients, run by PyTorch itself: what the checks are tried with in a server's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.conformance.interpreter import computed, run
from tests.conformance.wire import DTYPES, NAMES, read_tensor

Sections = dict[str, dict[str, torch.Tensor | None]]
"""A reply's tensors, by section and name."""


def answer(path: str, request: dict[str, Any]) -> Sections:
    """Return what a call is answered, mapped over as `vmap` says."""
    if request.get("vmap"):
        return _stacked([_ANSWERS[path](sample) for sample in _samples(request)])
    return _ANSWERS[path](request)


def _gradients(request: dict[str, Any]) -> Sections:
    reply = run(request)
    return {"outputs": dict(reply.outputs), "gradients": reply.gradients}


def _tangents(request: dict[str, Any]) -> Sections:
    """A tangent is the transpose of what gradients are of the seeds."""
    values, leaves = computed(request["graph"])
    directions = _read(request, "tangents")
    outputs = {name: values[name] for name in request["outputs"]}
    seeds = [torch.zeros_like(output, requires_grad=True) for output in outputs.values()]
    moved = [leaves[name] for name in directions]
    back = torch.autograd.grad(list(outputs.values()), moved, seeds, create_graph=True)
    found = torch.autograd.grad(back, seeds, list(directions.values()))
    return {"outputs": _detached(outputs), "tangents": dict(zip(outputs, found, strict=True))}


def _products(request: dict[str, Any]) -> Sections:
    values, leaves = computed(request["graph"])
    directions = _read(request, "vectors")
    moved = [leaves[name] for name in directions]
    output = request["output"]
    back = torch.autograd.grad(values[output], moved, create_graph=True, materialize_grads=True)
    pairs = zip(back, directions.values(), strict=True)
    recorded = [(gradient, vector) for gradient, vector in pairs if gradient.requires_grad]
    found = [torch.zeros_like(leaf) for leaf in moved]
    if recorded:
        roots, vectors = zip(*recorded, strict=True)
        found = list(torch.autograd.grad(roots, moved, vectors, materialize_grads=True))
    return {
        "outputs": {output: values[output].detach()},
        "gradients": _detached(dict(zip(directions, back, strict=True))),
        "hvp": dict(zip(directions, found, strict=True)),
    }


_ANSWERS: dict[str, Callable[[dict[str, Any]], Sections]] = {
    "/v1/forward": _gradients,
    "/v1/gradients": _gradients,
    "/v1/jvp": _tangents,
    "/v1/hvp": _products,
}


def _default(request: dict[str, Any]) -> torch.dtype:
    return DTYPES[request["graph"].get("dtype", "float64")]


def _read(request: dict[str, Any], member: str) -> dict[str, torch.Tensor]:
    return {name: read_tensor(tensor, _default(request)) for name, tensor in request[member].items()}


def _detached(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | None]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _samples(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the request of each index of the mapped axes."""
    graph, axes = request["graph"], request["vmap"]
    held = {"tensors": graph["tensors"]} | {m: request[m] for m in ("backward", "tangents", "vectors") if m in request}
    size = next(
        read_tensor(t, _default(request)).shape[axes[n]] for ts in held.values() for n, t in ts.items() if n in axes
    )

    def sample(tensor: Any, axis: int, place: int) -> dict[str, Any]:
        chosen = read_tensor(tensor, _default(request)).select(axis, place)
        flat = {"data": chosen.flatten().tolist(), "shape": list(chosen.shape), "dtype": NAMES[chosen.dtype]}
        return flat | {"requires_grad": tensor.get("requires_grad", False)}

    def at(place: int) -> dict[str, Any]:
        parts = {
            member: {name: sample(t, axes[name], place) if name in axes else t for name, t in tensors.items()}
            for member, tensors in held.items()
        }
        tensors = parts.pop("tensors")
        return request | parts | {"graph": graph | {"tensors": tensors}}

    return [at(place) for place in range(size)]


def _stacked(replies: list[Sections]) -> Sections:
    def stacked(section: str, name: str) -> torch.Tensor | None:
        found = [tensor for reply in replies if (tensor := reply[section][name]) is not None]
        return torch.stack(found) if found else None

    return {section: {name: stacked(section, name) for name in tensors} for section, tensors in replies[0].items()}
