"""Jacobian-vector products, by one pass of forward mode. `engine` exports the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from engine.autodiff.forward import jvp, zeros
from engine.compile.compiled import Compiled, Place
from engine.compile.derivation import Derivation
from engine.compile.request import Names, Request
from engine.graph.graph import Tensor
from engine.program.program import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class TangentRequest(Request):
    """Tangents of `outputs` in the direction `tangents`, a mapping of names to types."""

    tangents: Mapping[str, Leaf]
    outputs: Names | None = None

    by: ClassVar[str | None] = "tangents"
    brings: ClassVar[str | None] = "tangents"

    def derive(self, derivation: Derivation) -> Compiled:
        """Compile the tangents."""
        lookup = derivation.lookup
        names = lookup.outputs(self.outputs)
        given = derivation.vmap.samples(self.tangents)
        moved = lookup.like(given, "tangents")
        lookup.floating(names, "outputs")
        with derivation.deriving():
            directions = {lookup.tensor(name): derivation.brought("tangents", name, given[name]) for name in moved}
            outputs = list(map(lookup.tensor, names))
            results: dict[Place, Tensor] = {("outputs", name): lookup.tensor(name) for name in names}
            derivation.schedule_early()
            for name, tangent in zip(names, jvp(outputs, directions), strict=True):
                results["tangents", name] = zeros(lookup.tensor(name)) if tangent is None else tangent
            derivation.values(results)
        return derivation.compiled(("outputs", "tangents"))
