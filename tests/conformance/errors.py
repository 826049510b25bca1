"""Calls that PyTorch's list says it refuses, as requests: the server is to refuse them too."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tests.conformance.calls import public_call
from tests.conformance.cases import Skip
from tests.conformance.reference import default_dtype
from tests.conformance.request import STYLES, Unsayable, graph
from tests.conformance.samples import REFUSED_BY_TORCH, Op, Sample
from tests.conformance.skips import reason_for

ELSEWHERE: tuple[tuple[str, str], ...] = (
    (r"must be Tensor, not (int|float|bool)", "a number in a tensor's place is a literal here"),
    (r"invalid combination of arguments - got \((int|float), ", "a number in a tensor's place is a literal here"),
    (r"\b(device|layout|pinned?)\b", "tensors have no device and no layout"),
    (r"deprecated|out=|in-place|inplace|memory location|strides", "in-place ops and memory are not offered"),
)
"""What PyTorch says of a call whose fault the contract cannot have, and why it cannot."""

ACCEPTED = "PyTorch takes it once its tensors are plain ones"


@dataclass(frozen=True)
class ErrorCase:
    """A request that must be refused, and what PyTorch says to it."""

    op: Op
    sample: Sample
    request: dict[str, Any]
    complaint: str
    path: str = "/v1/forward"
    default: torch.dtype = torch.float64

    @property
    def label(self) -> str:
        """What a failure is found by."""
        return f"{self.op.key} {self.sample.label}"


def error_cases(op: Op) -> Iterator[ErrorCase | Skip]:
    """Yield a case or a skip for every call that an op is listed to refuse."""
    for sample in op.errors():
        reason = reason_for(op, sample)
        complaint = _complaint(op, sample)
        if complaint is None:
            yield Skip(sample.label, reason or ACCEPTED)
            continue
        reason = reason or _elsewhere(complaint)
        if reason:
            yield Skip(sample.label, reason)
            continue
        try:
            written, _ = graph(public_call(op, sample), "y", torch.float64, STYLES[0])
        except (Unsayable, TypeError) as why:  # a rearrangement can lack the arguments that are missing on purpose
            yield Skip(sample.label, str(why))
            continue
        yield ErrorCase(op, sample, {"graph": written, "outputs": ["y"]}, complaint)


def _elsewhere(complaint: str) -> str | None:
    return next((reason for pattern, reason in ELSEWHERE if re.search(pattern, complaint)), None)


def _complaint(op: Op, sample: Sample) -> str | None:
    """Return what PyTorch says to a call that it refuses, or None if it takes it."""
    with default_dtype(torch.float64), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            op.call(*sample.args, **sample.kwargs)
        except REFUSED_BY_TORCH as error:
            return str(error).partition("\n")[0]
    return None
