"""All second derivatives of a scalar: the Jacobian of its gradients, in forward mode. `engine` exports the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.autodiff.sparsity.mode import passes
from engine.compile.compiled import Compiled
from engine.compile.derivation import Derivation
from engine.compile.derivatives.blocks import add_columns, check_blocks
from engine.compile.derivatives.seeds import add_gradients
from engine.compile.request import Names, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class HessianRequest(Request):
    """The second derivatives of the scalar `output` with respect to `wrt`."""

    output: str | None = None
    wrt: Names | None = None

    by: ClassVar[str | None] = "wrt"
    functional: ClassVar[bool] = True
    searches: ClassVar[bool] = True

    def derive(self, derivation: Derivation) -> Compiled:
        """Compile the Hessian."""
        lookup = derivation.lookup
        name = lookup.scalar_output(self.output, "output")
        targets = lookup.targets(self.wrt)
        check_blocks(derivation, targets, targets)
        with derivation.deriving():
            assert name is not None
            inputs = list(map(lookup.tensor, targets))
            gradients = add_gradients(derivation, name, targets)
            plan = passes(gradients, inputs, "forward")
            derivation.schedule_early()
            for target, wrt in zip(targets, inputs, strict=True):
                add_columns(derivation, gradients, wrt, [("hessian", row, target) for row in targets], plan)
        return derivation.compiled(("outputs", "gradients", "hessian"), roots=(name,))
