"""Vector-Jacobian products, by one pass of reverse mode, as `torch.func.vjp` and `jax.vjp`.

`engine` exports the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from engine.autodiff.forward import zeros
from engine.autodiff.reverse import backward
from engine.compile.compiled import Compiled, Place
from engine.compile.derivation import Derivation
from engine.compile.request import Names, Request
from engine.graph.graph import Tensor
from engine.program.program import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class VjpRequest(Request):
    """The product of `vectors` and the Jacobian by `wrt`, summed over the outputs.

    `vectors` maps names of outputs to the types of their cotangents, of the outputs' shapes. The result for a tensor
    is zeros if no output depends on it.
    """

    vectors: Mapping[str, Leaf]
    wrt: Names | None = None

    by: ClassVar[str | None] = "wrt"
    functional: ClassVar[bool] = True
    brings: ClassVar[str | None] = "vectors"

    def derive(self, derivation: Derivation) -> Compiled:
        """Compile the outputs named in `vectors`, and the products."""
        lookup = derivation.lookup
        given = derivation.vmap.samples(self.vectors)
        names = lookup.like(given, "vectors")
        targets = lookup.targets(self.wrt)
        with derivation.deriving():
            outputs, inputs = list(map(lookup.tensor, names)), list(map(lookup.tensor, targets))
            seeds = [derivation.brought("vectors", name, given[name]) for name in names]
            found = backward(list(zip(outputs, seeds, strict=True)), inputs)
            results: dict[Place, Tensor] = dict(zip([("outputs", name) for name in names], outputs, strict=True))
            for name, wrt, product in zip(targets, inputs, found, strict=True):
                results["vjp", name] = zeros(wrt) if product is None else product
            derivation.values(results)
        return derivation.compiled(("outputs", "vjp"), roots=tuple(names))
