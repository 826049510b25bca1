"""Cotangents that reverse mode starts with, and the gradients of a scalar that other derivatives differentiate."""

from __future__ import annotations

from collections.abc import Mapping

from engine.autodiff.forward import zeros
from engine.autodiff.reverse import backward
from engine.compile.compiled import Place
from engine.compile.derivation import Derivation
from engine.graph.graph import Tensor
from engine.graph.promotion import constant
from engine.ops.shape.movement import expanded
from engine.program.program import Leaf


def typed_roots(derivation: Derivation, roots: Mapping[str, Leaf | None] | None) -> dict[str, Leaf | None] | None:
    """Return the roots with the types of their seeds as one index of vmap's axis sees them."""
    if roots is None:
        return None
    seeds = derivation.vmap.samples({name: seed for name, seed in roots.items() if seed is not None})
    return {name: seeds.get(name) for name in roots}


def seed_of(derivation: Derivation, name: str, given: Leaf | None) -> Tensor:
    """Return the cotangent that the walk starts with at a root."""
    return ones(derivation.lookup.tensor(name)) if given is None else derivation.brought("backward", name, given)


def ones(tensor: Tensor) -> Tensor:
    """Ones of a tensor's shape and dtype, which take no memory."""
    return expanded(constant(1, tensor.dtype), tensor.shape)


def add_gradients(derivation: Derivation, name: str, targets: list[str]) -> list[Tensor]:
    """Return the gradients of a scalar, zeros where it does not depend on a target; ask for them and its value."""
    root = derivation.lookup.tensor(name)
    tensors = list(map(derivation.lookup.tensor, targets))
    found = backward([(root, ones(root))], tensors)
    gradients = [zeros(wrt) if gradient is None else gradient for wrt, gradient in zip(tensors, found, strict=True)]
    results: dict[Place, Tensor] = {("gradients", target): g for target, g in zip(targets, gradients, strict=True)}
    derivation.values({("outputs", name): root, **results})
    return gradients
