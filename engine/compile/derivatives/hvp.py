"""Hessian-vector products of a scalar: the tangents of its gradients. `engine` exports the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from engine.autodiff.forward import jvp, zeros
from engine.compile.compiled import Compiled, Place
from engine.compile.derivation import Derivation
from engine.compile.derivatives.seeds import add_gradients
from engine.compile.request import Request
from engine.graph.graph import Tensor
from engine.program.program import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRequest(Request):
    """The product of the Hessian of the scalar `output` with `vectors`, a mapping of names to types."""

    vectors: Mapping[str, Leaf]
    output: str | None = None

    by: ClassVar[str | None] = "vectors"
    functional: ClassVar[bool] = True
    brings: ClassVar[str | None] = "vectors"

    def derive(self, derivation: Derivation) -> Compiled:
        """Compile the products."""
        lookup = derivation.lookup
        name = lookup.scalar_output(self.output, "output")
        given = derivation.vmap.samples(self.vectors)
        targets = lookup.like(given, "vectors")
        with derivation.deriving():
            assert name is not None
            gradients = add_gradients(derivation, name, targets)
            vectors = {
                lookup.tensor(target): derivation.brought("vectors", target, given[target]) for target in targets
            }
            derivation.schedule_early()
            products: dict[Place, Tensor] = {}
            for target, product in zip(targets, jvp(gradients, vectors), strict=True):
                products["hvp", target] = zeros(lookup.tensor(target)) if product is None else product
            derivation.values(products)
        return derivation.compiled(("outputs", "gradients", "hvp"), roots=(name,))
