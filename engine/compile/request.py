"""The base class of requests to the engine: the common members, and class variables for compilation.

`engine.compile.derivatives` has a module for each kind of request. Names are names of tensors and of ops' outputs. A
`Leaf` is the type of a tensor in the request. None is the default choice.
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
    """A callable that starts a derivation of the request's program: it types the program, without derivatives."""

    def __call__(self, most_s: float = ...) -> Derivation:
        """Return the derivation. `most_s` bounds the predicted seconds of a run. Raises GraphError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The common members of requests.

    `vmap` maps names to the axis of the tensor to batch over. `randomness` selects if random ops draw "different" or
    the "same" values for each index. The backward pass recomputes the values between the cuts named by `checkpoint`.
    """

    vmap: Mapping[str, int] = field(default_factory=dict)
    randomness: Literal["different", "same"] = "different"
    checkpoint: Names = ()
    detect_anomaly: bool = False

    differentiates: ClassVar[bool] = True
    """Whether the request has derivatives. Compilation then warns of undefined slopes."""

    by: ClassVar[str | None] = None
    """The member that names the tensors to differentiate by."""

    functional: ClassVar[bool] = False
    """Whether the tensors named by `by` require grad, as in torch.func."""

    brings: ClassVar[str | None] = None
    """The member with additional tensors by name: seeds, tangents or vectors."""

    searches: ClassVar[bool] = False
    """Whether planning takes long for the number of ops: it detects sparsity, or makes several plans."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The names to differentiate by, or () if the request names none."""
        return tuple(getattr(self, self.by) or ()) if self.by else ()

    @property
    def brought(self) -> Mapping[str, Leaf | None]:
        """The types of the request's additional tensors, by name."""
        return (getattr(self, self.brings) or {}) if self.brings else {}

    def derived(self, start: Start) -> tuple[Derivation, Compiled]:
        """Return the derivation and the compiled request. Raises GraphError."""
        derivation = start()
        return derivation, self.derive(derivation)

    def derive(self, derivation: Derivation) -> Compiled:
        """Add the derivatives to a derivation of this request and return the compiled request. Raises GraphError."""
        raise NotImplementedError
