"""A case: a sample of an op as PyTorch computes it and as a request says it, side by side. What cannot become a case
is a `Skip` with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tests.conformance.calls import public_call
from tests.conformance.interpreter import run
from tests.conformance.reference import NoTensors, Reference, evaluate
from tests.conformance.request import STYLES, Style, Unsayable, graph, leaves
from tests.conformance.samples import REFUSED_BY_TORCH, Op, Sample
from tests.conformance.skips import DRAWS, RANDOM, REFUSED, reason_for
from tests.conformance.wire import NAMES, write_tensor

UNSIGNED: dict[str, tuple[int, ...]] = {
    "linalg.eig": (1,),
    "linalg.eigh": (1,),
    "linalg.svd": (0, 2),
    "svd": (0, 2),
}
"""Results that are determined up to a sign only, by position: their magnitudes are compared."""


@dataclass(frozen=True)
class Skip:
    """A sample that is not run, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Case:
    """A sample, the request that says it, and what PyTorch gives. `names` are its leaves' names, in their order."""

    op: Op
    sample: Sample
    default: torch.dtype
    request: dict[str, Any]
    reference: Reference
    outputs: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """What a failure is found by."""
        return f"{self.op.key} {self.sample.label} in a {NAMES[self.default]} graph"

    @property
    def path(self) -> str:
        """The call that answers the request: without a gradient there is no root."""
        return "/v1/gradients" if "backward" in self.request else "/v1/forward"


def cases(
    op: Op, dtype: torch.dtype, default: torch.dtype = torch.float64, *, reference_inputs: bool = True
) -> Iterator[Case | Skip]:
    """Yield a case or a skip for every sample of an op in `dtype`, in a graph whose dtype is `default`."""
    for place, sample in enumerate(op.samples(dtype, reference_inputs=reference_inputs)):
        yield _case(op, sample, default, STYLES[place % len(STYLES)])


def _case(op: Op, sample: Sample, default: torch.dtype, style: Style) -> Case | Skip:
    reason = reason_for(op, sample)
    if reason:
        return Skip(sample.label, reason)
    inputs = tuple(leaves((sample.args, sample.kwargs)))
    try:
        reference = evaluate(op.call, sample, inputs, default, UNSIGNED.get(op.entry, ()))
    except NoTensors as why:
        return Skip(sample.label, str(why))
    except REFUSED_BY_TORCH:
        return Skip(sample.label, REFUSED)
    try:
        written, names = _request(op, sample, reference, default, style)
    except Unsayable as why:
        return Skip(sample.label, str(why))
    if _draws(op, written):
        return Skip(sample.label, RANDOM)
    return Case(op, sample, default, written, reference, tuple(written["outputs"]), names)


def _request(
    op: Op, sample: Sample, reference: Reference, default: torch.dtype, style: Style
) -> tuple[dict[str, Any], tuple[str, ...]]:
    foreign = {str(output.dtype) for output in reference.outputs if output.dtype not in NAMES}
    if foreign:
        raise Unsayable(f"the dtype {foreign.pop()}")
    count = len(reference.outputs)
    results = [f"y{place}" for place in range(count)]
    written, names = graph(public_call(op, sample), results[0] if reference.single else results, default, style)
    outputs = list(results)
    for place in UNSIGNED.get(op.entry, ()):
        outputs[place] = f"magnitude{place}"
        written["ops"].append({"op": "abs", "inputs": [results[place]], "output": outputs[place]})
    request: dict[str, Any] = {"graph": written, "outputs": outputs, "dag": True, "encoding": style.encoding}
    if any(gradient is not None for gradient in reference.gradients) and reference.seeds:
        request["backward"] = {
            outputs[place]: write_tensor(seed, style.form, default) for place, seed in reference.seeds.items()
        }
    return request, tuple(names.get(id(leaf), "") for leaf in reference.leaves)


def _draws(op: Op, request: dict[str, Any]) -> bool:
    """Whether another state of the random generator gives another result."""
    if op.entry not in DRAWS:
        return False
    runs = []
    for seed in range(6):
        torch.manual_seed(seed)
        runs.append(run(request).outputs)
    return any(not torch.equal(value, other[name]) for other in runs[1:] for name, value in runs[0].items())
