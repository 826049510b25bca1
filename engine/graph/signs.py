"""Signs of tensors, and operands with a slope that is not finite. `engine.inspect.nan_gradients` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Sign(IntEnum):
    """A lower bound on all elements of a tensor."""

    ANY = 0
    NOT_NEGATIVE = 1
    POSITIVE = 2


@dataclass(frozen=True, slots=True)
class Singular:
    """An operand of a primitive at which its slope can be infinite or NaN, unless its sign is at least `safe`."""

    operand: int = 0
    safe: Sign = Sign.POSITIVE
