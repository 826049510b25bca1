"""A case and what the server answers to it: what every check of a column looks at. The case's own request is sent once
for all checks; what derivatives need besides is sent when a check first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch
from torch.utils._pytree import tree_map

from tests.conformance.cases import UNSIGNED, Case
from tests.conformance.derivative_requests import tangents_request
from tests.conformance.errors import ErrorCase
from tests.conformance.reference import Reference, evaluate
from tests.conformance.request import leaves
from tests.conformance.samples import REFUSED_BY_TORCH, Sample
from tests.conformance.server import Answer
from tests.conformance.wire import read_tensor

Post = Callable[[str, dict[str, Any]], Answer]

AnyCase = TypeVar("AnyCase", bound=Case | ErrorCase)


@dataclass(frozen=True)
class Excepted:
    """That a column cannot be filled for a case, and why: it stands in the report."""

    reason: str


Verdict = list[str] | Excepted | None
"""The problems that a check finds, or why it cannot look for any; None where there is nothing to check."""


@dataclass(frozen=True)
class Tensors:
    """A reply's tensors."""

    body: dict[str, Any]
    default: torch.dtype

    def get(self, section: str, name: str) -> torch.Tensor | None:
        """Return a tensor of the reply, None where it has null or nothing."""
        found = self.body.get(section, {}).get(name)
        return None if found is None else read_tensor(found, self.default)


class Unanswered(Exception):
    """A further request of a check got no numbers; the message says what it got."""


class Exchange(Generic[AnyCase]):
    """A case and what the server answers, asked once for all checks.

    `remarks` take what the report is to say of how a column was checked.
    """

    def __init__(self, case: AnyCase, post: Post) -> None:
        self.case: AnyCase = case
        self.post = post
        self.remarks: list[str] = []

    def ask(self, path: str, request: dict[str, Any]) -> Tensors:
        """Return what a further request is answered. Raises Unanswered where that is no 200."""
        answer = self.post(path, request)
        if answer.status != 200:
            raise Unanswered(f"{path} {answer.trouble}")
        return Tensors(answer.body, self.case.default)

    @cached_property
    def answer(self) -> Answer:
        """The answer to the case's own request."""
        return self.post(self.case.path, self.case.request)

    @cached_property
    def pushed(self: Exchange[Case]) -> Tensors:
        """The tangents of the case's floating results in its directions."""
        return self.ask("/v1/jvp", tangents_request(self.case))

    @cached_property
    def exact(self) -> Reference | None:
        """What PyTorch gives in double precision for a single-precision sample, None where it gives nothing."""

        def doubled(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and value.dtype is torch.float32:
                return value.detach().double().requires_grad_(value.requires_grad)
            return value

        args, kwargs = tree_map(doubled, (self.case.sample.args, self.case.sample.kwargs))
        sample = Sample("", args, kwargs)
        unsigned = UNSIGNED.get(self.case.op.entry, ())
        try:
            return evaluate(self.case.op.call, sample, tuple(leaves((args, kwargs))), torch.float64, unsigned)
        except REFUSED_BY_TORCH:
            return None

    def tensor(self, section: str, name: str) -> torch.Tensor | None:
        """Return a tensor of the answer to the case's own request."""
        return Tensors(self.answer.body, self.case.default).get(section, name)
