"""Anomaly detection: finds the first op, forward or backward, that computes NaN or infinity from finite values.

It checks the results of ops, and the cotangent that each op passes to each of its inputs. It does not check values
inside a gradient rule, because the rule may mask them. The plan of a run with anomaly detection returns the checked
values as additional results. `engine.compile.derivation` makes the checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.autodiff.reverse import Edge
from engine.errors import ValueFault
from engine.graph.graph import Node, Tensor
from engine.program.references import names_read
from engine.program.trace import Trace, TracedCall

Array = np.ndarray[Any, Any]

_HINT = "Look at the inputs of this op: a logarithm, root or quotient at 0, or an overflow; clamp or rescale them"


@dataclass(frozen=True, slots=True)
class Watch:
    """A check of an op: if the values that it reads are finite, the values that it computes must be finite.

    `read` (with names) and `made` contain indices of arrays among the results of a plan. `op` is the index of the op in
    the program and `name` its name. With `backward`, `made` is a cotangent, otherwise the results of the op.
    """

    op: int
    name: str
    backward: bool
    read: tuple[tuple[str, int], ...]
    made: tuple[int, ...]

    def refuse(self, arrays: Sequence[Array]) -> None:
        """Raise ValueFault if a computed value is not finite and all values that it depends on are."""
        read = {name: arrays[number] for name, number in self.read}
        if all(_finite(arrays[number]) for number in self.made) or not all(map(_finite, read.values())):
            return
        ranges = ", ".join(f"{name} in {_range(array)}" for name, array in read.items()) or "no inputs"
        what = "the gradient that it passes back is" if self.backward else "its result is"
        where = "backward" if self.backward else "forward"
        mend = (
            "; where it is masked, choose a harmless input before it, not a result behind it" if self.backward else ""
        )
        raise ValueFault(
            "not_finite",
            f"{self.name}: {what} not finite ({where} pass), from finite values: {ranges}",
            f"{_HINT}{mend}.",
            ("graph", "ops", self.op),
        )


@dataclass(slots=True)
class Watches:
    """The checks of a plan, in the order of computation, and the tensors that they need as additional results."""

    tensors: list[Tensor] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)

    def forward(self, traced: Trace, needed: set[Node]) -> None:
        """Add a check of the results of each call whose nodes are in `needed`."""
        for call in traced.calls:
            made = tuple(self._number(result) for result in call.results if result.node in needed)
            if made:
                self.watches.append(Watch(call.index, call.op.name, False, self._inputs(traced, call), made))

    def backward(self, traced: Trace, edges: Sequence[Edge]) -> None:
        """Add a check of each cotangent that a gradient rule passes to a named tensor, in the order of `edges`."""
        calls = {call.index: call for call in traced.calls}
        named = set(traced.names.values())
        for node, tensor, cotangent in edges:
            if tensor in named and node.origin is not None:
                call = calls[node.origin]
                results = [(name, self._number(t)) for name, t in zip(call.names, call.results, strict=True) if name]
                read = (*self._inputs(traced, call), *results)
                self.watches.append(Watch(call.index, call.op.name, True, read, (self._number(cotangent),)))

    def refuse(self, arrays: Sequence[Array]) -> None:
        """Raise ValueFault for the first failed check. `arrays` are the values of `tensors`."""
        for watch in self.watches:
            watch.refuse(arrays)

    def _inputs(self, traced: Trace, call: TracedCall) -> tuple[tuple[str, int], ...]:
        names = dict.fromkeys(names_read(call.call))
        return tuple((name, self._number(traced.names[name])) for name in names)

    def _number(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def _finite(array: Any) -> bool:
    return bool(np.isfinite(array).all())


def _range(array: Any) -> str:
    array = np.asarray(array)
    return f"[{array.min()}, {array.max()}]" if array.size else "an empty tensor"
