"""The targets of differentiation and the axes of vmap, checked before the program is traced.

`engine.compile.derivation` and `engine.compile.mapping` call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.compile.request import Request
from engine.errors import Fault, GraphError, Path
from engine.program.program import Leaf, Program


def targets_require_grad(tensors: Mapping[str, Leaf], request: Request) -> dict[str, Leaf]:
    """Return the tensors with `requires_grad` set for the targets of a functional derivative, as in torch.func."""
    named = set(request.targets) if request.functional else set()
    return {
        name: replace(given, requires_grad=True) if name in named and given.dtype.is_differentiable else given
        for name, given in tensors.items()
    }


def mapped_axes(program: Program, request: Request) -> tuple[int | None, dict[str, int]]:
    """Return the size of vmap's axis and its position by name. Raises GraphError if the axes do not fit."""
    faults: list[Fault] = []
    sizes: dict[str, int] = {}
    brought = request.brought
    for name, axis in request.vmap.items():
        path: Path = ("vmap", name)
        given = {repr(name): program.tensors.get(name), f"{name!r} of {request.brings}": brought.get(name)}
        if not any(given.values()):
            detail = f"{name!r} is neither a tensor nor a root with a seed"
            faults.append(
                Fault(path, "unknown_tensor", detail, "Name tensors of the graph, or roots that have a seed.")
            )
        for label, held in given.items():
            rank = len(held.shape) if held else 0
            if held and -rank <= axis < rank:
                sizes[label] = held.shape[axis]
            elif held:
                detail = f"{label} has {rank} dimensions and no axis {axis}"
                faults.append(Fault(path, "dim_out_of_range", detail, f"Use an axis from {-rank} to {rank - 1}."))
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{label}: {size}" for label, size in sizes.items())
        hint = "Map over axes of one size; leave shared tensors out of vmap."
        faults.append(Fault(("vmap",), "shape_mismatch", f"the mapped axes have several sizes: {listed}", hint))
    if faults:
        raise GraphError(faults)
    return next(iter(sizes.values()), None), dict(request.vmap)
