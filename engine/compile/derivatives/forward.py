"""Requests of values, without derivatives. `engine` exports the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.compile.compiled import Compiled
from engine.compile.derivation import Derivation
from engine.compile.request import Names, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRequest(Request):
    """Values of `outputs`. The default is every output that no op consumes."""

    outputs: Names | None = None

    differentiates: ClassVar[bool] = False

    def derive(self, derivation: Derivation) -> Compiled:
        """Return the compiled request: the values of the outputs."""
        names = derivation.lookup.outputs(self.outputs)
        with derivation.deriving():
            derivation.values({("outputs", name): derivation.lookup.tensor(name) for name in names})
        return derivation.compiled(("outputs",))
