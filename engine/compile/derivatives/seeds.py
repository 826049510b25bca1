"""Seeds of reverse mode, and the gradients of a scalar.

The modules of requests in this package and `engine.check.compile` call it.
"""

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
    """Return the roots with the types of their seeds for one index of vmap's axis."""
    if roots is None:
        return None
    seeds = derivation.vmap.samples({name: seed for name, seed in roots.items() if seed is not None})
    return {name: seeds.get(name) for name in roots}


def seed_of(derivation: Derivation, name: str, given: Leaf | None) -> Tensor:
    """Return the cotangent of a root: its seed, or ones."""
    return ones(derivation.lookup.tensor(name)) if given is None else derivation.brought("backward", name, given)


def ones(tensor: Tensor) -> Tensor:
    """Return ones of a tensor's shape and dtype. They take no memory."""
    return expanded(constant(1, tensor.dtype), tensor.shape)


def add_gradients(derivation: Derivation, name: str, targets: list[str]) -> list[Tensor]:
    """Add a pass for a scalar and its gradients, and return the gradients. Independent targets have zeros."""
    root = derivation.lookup.tensor(name)
    tensors = list(map(derivation.lookup.tensor, targets))
    found = backward([(root, ones(root))], tensors)
    gradients = [zeros(wrt) if gradient is None else gradient for wrt, gradient in zip(tensors, found, strict=True)]
    results: dict[Place, Tensor] = {("gradients", target): g for target, g in zip(targets, gradients, strict=True)}
    derivation.values({("outputs", name): root, **results})
    return gradients
