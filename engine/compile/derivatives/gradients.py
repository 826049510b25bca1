"""Gradients of roots with respect to tensors, by one pass of reverse mode. `engine` exports the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.autodiff.forward import zeros
from engine.autodiff.reverse import Edge, backward
from engine.compile.compiled import Compiled, Place
from engine.compile.derivation import Derivation
from engine.compile.derivatives.seeds import seed_of, typed_roots
from engine.compile.request import Names, Request
from engine.graph.graph import Tensor
from engine.program.program import Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientRequest(Request):
    """Gradients of `backward`'s roots with respect to `wrt`.

    `backward` maps roots to the type of their seed (None: ones, for a scalar). `accumulate` maps names to the types of
    earlier gradients; new gradients are added to them.
    """

    backward: Mapping[str, Leaf | None] | None = None
    wrt: Names | None = None
    outputs: Names | None = None
    accumulate: Mapping[str, Leaf] = field(default_factory=dict)
    unreached: Literal["null", "zeros", "error"] = "null"

    by: ClassVar[str | None] = "wrt"
    brings: ClassVar[str | None] = "backward"

    def derive(self, derivation: Derivation) -> Compiled:
        """Compile the gradients."""
        lookup = derivation.lookup
        names = lookup.outputs(self.outputs)
        roots = lookup.roots(typed_roots(derivation, self.backward))
        targets = lookup.targets(self.wrt) if self.wrt is not None or roots else []
        check_accumulated(derivation, self.accumulate, targets)
        with derivation.deriving():
            seeded = [(lookup.tensor(name), seed_of(derivation, name, given)) for name, given in roots.items()]
            edges: list[Edge] | None = [] if self.detect_anomaly else None
            found = dict(zip(targets, backward(seeded, list(map(lookup.tensor, targets)), edges), strict=True))
            results: dict[Place, Tensor] = {("outputs", name): lookup.tensor(name) for name in names}
            for position, (name, gradient) in enumerate(found.items()):
                if gradient is not None:
                    results["gradients", name] = gradient
                elif self.unreached == "zeros" or name in self.accumulate:
                    results["gradients", name] = zeros(lookup.tensor(name))
                elif self.unreached == "error":
                    lookup.fault(*unreached(name, position))
                else:
                    derivation.empty.append(("gradients", name))
            lookup.raise_faults()
            derivation.values(results, self.accumulate, edges or ())
        return derivation.compiled(("outputs", "gradients"), roots=tuple(roots))


def unreached(name: str, position: int) -> tuple[tuple[str | int, ...], str, str, str]:
    """Return the fault for a name in `wrt`, at `position`, on which no root depends."""
    hint = 'Leave it out of wrt, or let unreached be "null" or "zeros".'
    return ("wrt", position), "unreached", f"no root depends on {name!r}", hint


def check_accumulated(derivation: Derivation, given: Mapping[str, Leaf], targets: Sequence[str]) -> None:
    """Report tensors in `accumulate` that do not match a gradient."""
    lookup, differentiated = derivation.lookup, set(targets)
    for name in lookup.known(("accumulate",), given, keys=True):
        path, shape = ("accumulate", name), derivation.vmap.lead + lookup.tensor(name).shape
        if name not in differentiated:
            lookup.fault(path, "not_in_wrt", f"no gradient of {name!r} is asked for", "Add it to wrt, or leave it out.")
        elif given[name].shape != shape:
            lookup.fault(
                path,
                "shape_mismatch",
                f"it has shape {list(given[name].shape)}, and the gradient of {name!r} {list(shape)}",
                "Give the gradient that an earlier call returned.",
            )
