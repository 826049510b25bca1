"""The columns of derivatives: the server's tangents are those of PyTorch's forward mode, its tangents and gradients are
transposes of each other, its second derivatives are those of PyTorch's double backward.
"""

from __future__ import annotations

import torch

from tests.conformance.cases import Case
from tests.conformance.compare import ATOL, RTOL, difference, magnitude
from tests.conformance.derivative_requests import directions, products_request
from tests.conformance.exchange import Excepted, Exchange, Tensors, Verdict
from tests.conformance.torch_derivatives import Derivatives, products, tangents

NOTHING = Excepted("no result depends on a tensor that requires grad")
NOT_FINITE = Excepted("a term of the product is infinite or NaN")


def jvp(exchange: Exchange[Case]) -> Verdict:
    """Every floating result has PyTorch's tangent in a random direction of all leaves at once."""
    case = exchange.case
    if "backward" not in case.request:
        return NOTHING
    return _compared(exchange, exchange.pushed, "tangents", tangents(case, directions(case)))


def transpose(exchange: Exchange[Case]) -> Verdict:
    """<u, Jv> = <J'u, v>: the tangents' product with the seeds is the gradients' product with the directions."""
    case = exchange.case
    if "backward" not in case.request:
        return NOTHING
    seeds = {case.outputs[place]: seed for place, seed in case.reference.seeds.items()}
    left = _terms({name: exchange.pushed.get("tangents", name) for name in seeds}, seeds)
    moved = directions(case)
    right = _terms({name: exchange.tensor("gradients", name) for name in moved}, moved)
    if not (left.isfinite().all() and right.isfinite().all()):
        return NOT_FINITE
    forward, backward = float(left.sum()), float(right.sum())
    scale = float(left.abs().sum() + right.abs().sum())
    exactness = max(RTOL[leaf.dtype] for leaf in case.reference.leaves if leaf.requires_grad)
    if abs(forward - backward) <= exactness * scale + ATOL[case.default]:
        return []
    return [f"<seeds, tangents> is {forward!r}, <gradients, directions> is {backward!r}"]


def second(exchange: Exchange[Case]) -> Verdict:
    """Second derivatives of <seeds, results>, times a random direction of all leaves at once, are PyTorch's."""
    case = exchange.case
    if "backward" not in case.request:
        return NOTHING
    found = exchange.ask("/v1/hvp", products_request(case))
    return _compared(exchange, found, "hvp", products(case, directions(case)))


def _terms(tensors: dict[str, torch.Tensor | None], weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the terms of the inner product of tensors with weights; those of a tensor that is absent are left out."""
    found = [
        (tensor.double() * weights[name].double()).flatten() for name, tensor in tensors.items() if tensor is not None
    ]
    return torch.cat(found) if found else torch.zeros(0)


def _compared(exchange: Exchange[Case], found: Tensors, section: str, expected: Derivatives) -> list[str]:
    exchange.remarks.extend(expected.ways)
    problems = []
    for name, tensor in expected.tensors.items():
        got, wanted = found.get(section, name), tensor
        if expected.nan_is_unknown and got is not None and got.shape == tensor.shape:
            wanted = torch.where(tensor.isnan(), got, tensor)
        problem = difference(got, wanted, expected.slack * magnitude(wanted))
        if problem:
            problems.append(f"{section} {name}: {problem}")
    return problems
