"""The requests for derivatives of a case beside its gradients: tangents, and products with second derivatives."""

from __future__ import annotations

from typing import Any

import torch

from tests.conformance.cases import Case
from tests.conformance.reference import SEED
from tests.conformance.wire import NAMES, write_tensor


def directions(case: Case) -> dict[str, torch.Tensor]:
    """Return a random direction for every leaf that requires grad, by its name."""
    generator = torch.Generator().manual_seed(SEED + 1)
    return {
        name: torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf.dtype)
        for name, leaf in zip(case.names, case.reference.leaves, strict=True)
        if name and leaf.requires_grad
    }


def floating(case: Case) -> dict[str, torch.Tensor]:
    """Return PyTorch's floating results by name: those that have a tangent."""
    named = zip(case.outputs, case.reference.outputs, strict=True)
    return {name: output for name, output in named if output.dtype.is_floating_point}


def written(tensors: dict[str, torch.Tensor], default: torch.dtype) -> dict[str, Any]:
    """Return tensors in the contract's form."""
    return {name: write_tensor(tensor, "base64", default) for name, tensor in tensors.items()}


def tangents_request(case: Case) -> dict[str, Any]:
    """Return the request for the tangents of all floating results."""
    return {
        "graph": case.request["graph"],
        "outputs": list(floating(case)),
        "tangents": written(directions(case), case.default),
        "encoding": "base64",
    }


def products_request(case: Case) -> dict[str, Any]:
    """Return the request for second derivatives of the results' product with their seeds, times the directions.

    Differentiated twice, <seeds, results> gives what PyTorch's double backward gives.
    """
    graph = case.request["graph"]
    seeds = {f"seed{place}": seed for place, seed in case.reference.seeds.items()}
    ops, terms = list(graph["ops"]), []
    for place in case.reference.seeds:
        product, term = f"product{place}", f"term{place}"
        ops += [
            {"op": "mul", "inputs": [case.outputs[place], f"seed{place}"], "output": product},
            {"op": "sum", "inputs": [product], "output": term},
        ]
        terms.append(term)
    while len(terms) > 1:
        total = f"total{len(terms)}"
        ops.append({"op": "add", "inputs": terms[-2:], "output": total})
        terms[-2:] = [total]
    tensors = graph["tensors"] | written(seeds, case.default)
    return {
        "graph": {"dtype": NAMES[case.default], "tensors": tensors, "ops": ops},
        "output": terms[0],
        "vectors": written(directions(case), case.default),
        "encoding": "base64",
    }
