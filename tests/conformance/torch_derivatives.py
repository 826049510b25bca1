"""What PyTorch says of derivatives beside gradients: tangents by its forward mode, second derivatives by its double
backward, and where it lacks one of the two, the way around it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from tests.conformance.cases import UNSIGNED, Case
from tests.conformance.reference import default_dtype, results

Directions = Mapping[str, torch.Tensor]
"""By the leaves' names."""

STEP = 1e-6
"""How far differences of gradients reach."""


@dataclass(frozen=True)
class Derivatives:
    """Tensors by name. `ways` say how PyTorch was made to give them, where its own way is none.

    `slack` is what that way is inexact by, relative to the largest element. `nan_is_unknown`: an element that is NaN
    says nothing.
    """

    tensors: dict[str, torch.Tensor]
    ways: tuple[str, ...] = ()
    slack: float = 0.0
    nan_is_unknown: bool = False


def _prefixes(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """logcumsumexp as the logsumexp of all that comes before."""
    if not tensor.ndim:
        return tensor.clone()
    sums = [tensor.narrow(dim, 0, k + 1).logsumexp(dim) for k in range(tensor.shape[dim])]
    return torch.stack(sums, dim) if sums else tensor.clone()


def _attention(*args: Any, **kwargs: Any) -> torch.Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(*args, **kwargs)


STAND_INS: dict[str, tuple[Callable[..., Any], str]] = {
    "logcumsumexp": (_prefixes, "of logsumexp for logcumsumexp, whose tangents are off by 1e-6 and second ones NaN"),
    "scaled_dot_product_attention": (_attention, "of PyTorch's plain kernel, as the one for this machine has none"),
}
"""What is differentiated in an op's place, and why."""


def _has_nan(*args: Any) -> bool:
    return any(value.isnan().any() for value in args if isinstance(value, torch.Tensor))


def _is_empty(*args: Any) -> bool:
    return any(not value.numel() for value in args if isinstance(value, torch.Tensor))


def _always(*_: Any) -> bool:
    return True


ASTRAY: tuple[tuple[frozenset[str], Callable[..., bool], str], ...] = (
    (
        frozenset({"max", "maximum", "min", "minimum"}),
        _has_nan,
        "at NaN its forward mode takes one of the tangents, its gradient goes to both",
    ),
    (frozenset({"logsumexp"}), _is_empty, "its forward mode gives NaN where nothing is summed"),
    (
        frozenset({"linalg.cholesky"}),
        _always,
        "its forward mode reads one triangle of the tangent, its gradient is for both",
    ),
)
"""Where PyTorch's forward mode is not the transpose of its own gradient, which then is the reference."""

NAN_UNKNOWN: dict[str, str] = {
    "mish": "PyTorch's second derivative is NaN where exp overflows",
    "pow": "PyTorch's second derivative is NaN at zero, also where it is zero",
}
"""By op: why an element of a second derivative that is NaN in PyTorch is not compared."""


def tangents(case: Case, directions: Directions) -> Derivatives:
    """Return the tangents of the floating results. Raises what PyTorch raises."""
    astray = next((why for names, holds, why in ASTRAY if case.op.entry in names and holds(*case.sample.args)), None)
    if case.op.forward_ad and astray is None:
        return Derivatives(_forward_mode(case, directions), _ways(case))
    way = f"as the transpose of PyTorch's gradient: {astray or 'it has no forward mode'}"
    return Derivatives(_transposed_twice(case, directions), (way, *_ways(case)))


def products(case: Case, directions: Directions) -> Derivatives:
    """Return the second derivatives of <seeds, results> times the directions. Raises what PyTorch raises."""
    if not case.op.double_backward:
        way = "against differences of PyTorch's gradient: it has no double backward"
        return Derivatives(_differences(case, directions), (way,), slack=1e-6)
    found, unknown = _double_backward(case, directions), NAN_UNKNOWN.get(case.op.entry)
    if unknown and any(tensor.isnan().any() for tensor in found.values()):
        return Derivatives(found, (unknown,), nan_is_unknown=True)
    return Derivatives(found, _ways(case))


def _ways(case: Case) -> tuple[str, ...]:
    return (STAND_INS[case.op.entry][1],) if case.op.entry in STAND_INS else ()


def _leaves(case: Case) -> dict[str, torch.Tensor]:
    """Return the leaves that require grad."""
    named = zip(case.names, case.reference.leaves, strict=True)
    return {name: leaf for name, leaf in named if name and leaf.requires_grad}


@contextlib.contextmanager
def _quiet(case: Case) -> Iterator[None]:
    with default_dtype(case.default), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _called(case: Case, changed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the results for changed leaves, of those that have no sign their magnitudes."""
    known = {id(leaf): changed[name] for name, leaf in _leaves(case).items()}

    def replaced(value: Any) -> Any:
        return known.get(id(value), value)

    args, kwargs = tree_map(replaced, (case.sample.args, dict(case.sample.kwargs)))
    call, _ = STAND_INS.get(case.op.entry, (case.op.call, ""))
    found, _ = results(call(*args, **kwargs))
    unsigned = UNSIGNED.get(case.op.entry, ())
    found = tuple(output.abs() if place in unsigned else output for place, output in enumerate(found))
    return dict(zip(case.outputs, found, strict=True))


def _floating(found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: output for name, output in found.items() if output.dtype.is_floating_point}


def _forward_mode(case: Case, directions: Directions) -> dict[str, torch.Tensor]:
    with _quiet(case), forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(leaf.detach(), directions[name]) for name, leaf in _leaves(case).items()}
        found = {name: forward_ad.unpack_dual(output) for name, output in _floating(_called(case, duals)).items()}
        return {
            name: torch.zeros_like(dual.primal) if dual.tangent is None else dual.tangent
            for name, dual in found.items()
        }


def _transposed_twice(case: Case, directions: Directions) -> dict[str, torch.Tensor]:
    """The gradient is linear in the seeds, and the tangent is that linear function's transpose."""
    with _quiet(case):
        leaves = _fresh(case)
        found = _floating(_called(case, leaves))
        recorded = {name: output for name, output in found.items() if output.requires_grad}
        seeds = {name: torch.zeros_like(output, requires_grad=True) for name, output in recorded.items()}
        gradients = _gradients(recorded, leaves, seeds, create_graph=True)
        moved = _gradients(gradients, seeds, directions)
        return {name: moved.get(name, torch.zeros_like(output)) for name, output in found.items()}


def _double_backward(case: Case, directions: Directions) -> dict[str, torch.Tensor]:
    with _quiet(case):
        leaves = _fresh(case)
        gradients = _seeded_gradients(case, leaves, create_graph=True)
        found = _gradients(gradients, leaves, directions)
        return {name: found.get(name, torch.zeros_like(leaf)) for name, leaf in leaves.items()}


def _differences(case: Case, directions: Directions) -> dict[str, torch.Tensor]:
    with _quiet(case):
        before, after = (
            _seeded_gradients(
                case, {name: _moved(leaf, step * directions[name]) for name, leaf in _leaves(case).items()}
            )
            for step in (-STEP, STEP)
        )
        return {name: (after[name] - before[name]) / (2 * STEP) for name in before}


def _moved(leaf: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    return (leaf.detach() + by).requires_grad_()


def _fresh(case: Case) -> dict[str, torch.Tensor]:
    return {name: leaf.detach().clone().requires_grad_() for name, leaf in _leaves(case).items()}


def _seeded_gradients(
    case: Case, leaves: Mapping[str, torch.Tensor], *, create_graph: bool = False
) -> dict[str, torch.Tensor]:
    found = _called(case, leaves)
    seeds = {case.outputs[place]: seed for place, seed in case.reference.seeds.items()}
    return _gradients({name: found[name] for name in seeds}, leaves, seeds, create_graph=create_graph)


def _gradients(
    roots: Mapping[str, torch.Tensor],
    leaves: Mapping[str, torch.Tensor],
    seeds: Mapping[str, torch.Tensor],
    *,
    create_graph: bool = False,
) -> dict[str, torch.Tensor]:
    """Return the gradients of <seeds, roots> by name, without those of leaves that no root depends on."""
    recorded = [name for name, root in roots.items() if root.requires_grad]
    if not recorded or not leaves:
        return {}
    found = torch.autograd.grad(
        [roots[name] for name in recorded],
        list(leaves.values()),
        [seeds[name] for name in recorded],
        create_graph=create_graph,
        allow_unused=True,
    )
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
