"""The record that every request to the engine extends: its common members, and facts that compilation needs.

`engine.compile.derivatives` has a module for each kind of request. Names are those of tensors and of ops' outputs; a
`Leaf` is the type of a tensor that the request brings. None stands for the usual choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from engine.program.program import Leaf

if TYPE_CHECKING:
    from engine.compile.compiled import Compiled
    from engine.compile.derivation import Derivation

Names = tuple[str, ...]


class Start(Protocol):
    """Begins a derivation of the request's program: types the program, without derivatives."""

    def __call__(self, most_s: float = ...) -> Derivation:
        """Return the derivation; its run may be predicted to take `most_s` seconds. Raises GraphError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The common members of requests.

    `vmap` maps names to the axis that the whole computation is mapped over, `randomness` says what random ops draw
    across it. Values between the cuts named by `checkpoint` are computed again on the way back instead of kept.
    """

    vmap: Mapping[str, int] = field(default_factory=dict)
    randomness: Literal["different", "same"] = "different"
    checkpoint: Names = ()
    detect_anomaly: bool = False

    differentiates: ClassVar[bool] = True
    """Whether there are derivatives, so that undefined slopes are worth a warning."""

    by: ClassVar[str | None] = None
    """The member that names the tensors to differentiate by."""

    functional: ClassVar[bool] = False
    """Whether those tensors require grad because they are named, as in torch.func."""

    brings: ClassVar[str | None] = None
    """The member that has tensors besides the graph's: seeds, tangents or vectors, by name."""

    searches: ClassVar[bool] = False
    """Whether planning takes longer than the number of ops tells: it looks for sparsity, or makes several plans."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The names to differentiate by, as far as the request names them."""
        return tuple(getattr(self, self.by) or ()) if self.by else ()

    @property
    def brought(self) -> Mapping[str, Leaf | None]:
        """The types of the tensors that the request brings besides the graph's, by name."""
        return (getattr(self, self.brings) or {}) if self.brings else {}

    def derived(self, start: Start) -> tuple[Derivation, Compiled]:
        """Return the compiled request and the derivation that made it. Raises GraphError."""
        derivation = start()
        return derivation, self.derive(derivation)

    def derive(self, derivation: Derivation) -> Compiled:
        """Add the derivatives to a derivation of this request, and return it compiled. Raises GraphError."""
        raise NotImplementedError
