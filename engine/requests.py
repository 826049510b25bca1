"""What can be asked of a program: one frozen record for each kind of derivative. None stands for the usual choice.

Names are those of tensors and of ops' outputs; a `Leaf` is the type of a tensor that the request brings along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.program import Leaf

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every request can say.

    `vmap` maps names to the axis that the whole computation is mapped over, `randomness` says what random ops draw
    across it. Values between the cuts named by `checkpoint` are computed again on the way back instead of kept.
    """

    vmap: Mapping[str, int] = field(default_factory=dict)
    randomness: Literal["different", "same"] = "different"
    checkpoint: Names = ()
    detect_anomaly: bool = False
    searches: ClassVar[bool] = False
    """Whether planning takes longer than the number of ops tells: it looks for sparsity, or makes several plans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRequest(Common):
    """Values of `outputs`: every output that no op consumes unless they are named."""

    outputs: Names | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientRequest(Common):
    """Gradients of `backward`'s roots with respect to `wrt`.

    `backward` maps roots to the type of their seed (None: ones, for a scalar). `accumulate` maps names to the types of
    the gradients that new ones are added to.
    """

    backward: Mapping[str, Leaf | None] | None = None
    wrt: Names | None = None
    outputs: Names | None = None
    accumulate: Mapping[str, Leaf] = field(default_factory=dict)
    unreached: Literal["null", "zeros", "error"] = "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest(GradientRequest):
    """Whether gradients are what differences of the roots' values say.

    `eps` is the step of the differences (None: one that suits each element). A gradient and a difference agree if they
    differ by no more than `atol`, plus `rtol` times the larger of the two.
    """

    eps: float | None = None
    rtol: float = 1e-5
    atol: float = 1e-7
    searches: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TangentRequest(Common):
    """Tangents of `outputs` in the direction of `tangents`, whose types are given by name."""

    tangents: Mapping[str, Leaf]
    outputs: Names | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JacobianRequest(Common):
    """The Jacobian of `outputs` with respect to `wrt`, by the cheaper of forward and reverse mode or the one named."""

    outputs: Names | None = None
    wrt: Names | None = None
    mode: Literal["auto", "reverse", "forward"] = "auto"
    searches: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HessianRequest(Common):
    """The second derivatives of the scalar `output` with respect to `wrt`."""

    output: str | None = None
    wrt: Names | None = None
    searches: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRequest(Common):
    """The product of the Hessian of the scalar `output` with `vectors`, whose types are given by name."""

    vectors: Mapping[str, Leaf]
    output: str | None = None


Request = ForwardRequest | GradientRequest | TangentRequest | JacobianRequest | HessianRequest | ProductRequest
