"""What the service computes: one entry for each kind of call, from its request's table to the engine's request.

`app.evaluate` drives them all in the same way. A new derivative is a table in `app.schemas.requests` and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.schemas.readers import Reading
from app.schemas.record import Record
from app.schemas.requests import FORWARD, GRADIENTS
from engine.program import Leaf
from engine.requests import ForwardRequest, GradientRequest, Request

Members = Mapping[str, Any]
Leaves = Mapping[tuple[str, str], Leaf]
"""Types of the tensors of a request, by section and name."""


@dataclass(frozen=True)
class Operation:
    """One kind of call.

    `record` reads the request's members, `request` makes the engine's request of them and of its tensors' types.
    `warns` says whether the reply always has `warnings`.
    """

    record: Record
    request: Callable[[Members, Leaves], Request]
    warns: bool = False

    @cached_property
    def volatile(self) -> frozenset[str]:
        """The members that change nothing about the plan."""
        return frozenset(name for name, member in self.record.members.items() if member.volatile)

    def options(self, given: Members, reading: Reading) -> dict[str, Any]:
        """Return the volatile members, defaults included. Raises Refused."""
        return {name: self.record.members[name].value(given, name, (), reading) for name in self.volatile}


def _gradients(members: Members, leaves: Leaves) -> Request:
    roots = members["backward"]
    return GradientRequest(
        backward=None if roots is None else {name: leaves.get(("backward", name)) for name in roots},
        wrt=members["wrt"],
        outputs=members["outputs"],
        accumulate={name: leaves["accumulate", name] for name in members["accumulate"]},
        unreached=members["unreached"],
        checkpoint=members["checkpoint"],
        detect_anomaly=members["detect_anomaly"],
    )


def _forward(members: Members, _: Leaves) -> Request:
    return ForwardRequest(outputs=members["outputs"])


OPERATIONS: Mapping[str, Operation] = {
    "gradients": Operation(GRADIENTS, _gradients, warns=True),
    "forward": Operation(FORWARD, _forward),
}
