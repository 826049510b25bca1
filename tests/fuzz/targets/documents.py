"""What the targets of both decoders share: a document as the body that it was read from, equality, refusals."""

from __future__ import annotations

import copy
import math
from typing import Any

from app.errors import ProblemError
from app.schemas.tensor import SHORTHAND
from app.wire.document import Document


def filled(document: Document) -> Any:
    """Return the body of a document: its skeleton with the options and the values put back."""
    tree = copy.deepcopy(document.skeleton)
    if isinstance(tree, dict):
        tree |= document.options
    for section, path in document.sections.items():
        holder = tree
        for token in path:
            holder = holder.get(token) if isinstance(holder, dict) else None
        for name, value in document.values[section].items():
            if holder[name] == SHORTHAND:
                holder[name] = value
            else:
                holder[name]["data"] = value
    return tree


def same(one: Any, other: Any) -> bool:
    """Whether two bodies are equal: numbers by value, NaN equal to itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if _is_number(one) and _is_number(other):
        return float(one) == float(other) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)


def refused(problem: ProblemError) -> bytes:
    """Return the problem document of a refusal. Its status is one that a body can cause."""
    assert problem.status in {400, 413, 422, 504}, problem.detail
    return problem.body("id")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
