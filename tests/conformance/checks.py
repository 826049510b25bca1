"""What is checked of an op: the table `SUITES`. Each suite draws cases; each of its checks is one column of the report
and one function from an exchange to the problems that it finds: none, or None where there is nothing to check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from tests.conformance.cases import UNSIGNED, Case, Skip, cases
from tests.conformance.compare import difference, single_difference
from tests.conformance.derivatives import jvp, second, transpose
from tests.conformance.errors import ErrorCase, error_cases
from tests.conformance.exchange import Exchange, Verdict
from tests.conformance.mapped import vmap
from tests.conformance.samples import Op
from tests.conformance.wire import NAMES


@dataclass(frozen=True)
class Check:
    """One column of the report, and the function that fills it."""

    column: str
    judge: Callable[[Exchange[Any]], Verdict]


@dataclass(frozen=True)
class Suite:
    """Cases and what is checked of each. `wants_refusal`: the cases are such that a refusal is the right answer."""

    draw: Callable[[Op], Iterator[Case | ErrorCase | Skip]]
    checks: tuple[Check, ...]
    wants_refusal: bool = False


def _compared(
    exchange: Exchange[Case],
    section: str,
    names: tuple[str, ...],
    expected: tuple[torch.Tensor | None, ...],
    part: str,
) -> list[str]:
    """Return how the reply's tensors differ from PyTorch's.

    In single precision, being right is agreeing with PyTorch in single or in double precision.
    """
    found = []
    for place, (name, wanted) in enumerate(zip(names, expected, strict=True)):
        got = exchange.tensor(section, name)
        problem = difference(got, wanted)
        if problem and exchange.case.default is torch.float32 and exchange.exact is not None:
            problem = single_difference(got, wanted, getattr(exchange.exact, part)[place])
        if problem:
            found.append(f"{section} {name}: {problem}")
    return found


def values(exchange: Exchange[Case]) -> Verdict:
    """Every result has PyTorch's dtype, shape and numbers."""
    case = exchange.case
    expected = tuple(output.detach() for output in case.reference.outputs)
    return _compared(exchange, "outputs", case.outputs, expected, "outputs")


def gradients(exchange: Exchange[Case]) -> Verdict:
    """Every leaf that requires grad has PyTorch's gradient, and no other tensor has one."""
    case = exchange.case
    if "backward" not in case.request:
        return None
    wanted = {name for name, leaf in zip(case.names, case.reference.leaves, strict=True) if leaf.requires_grad}
    named = set(exchange.answer.body.get("gradients", {}))
    problems = [] if named == wanted else [f"gradients of {sorted(named)}, expected of {sorted(wanted)}"]
    return problems + _compared(exchange, "gradients", case.names, case.reference.gradients, "gradients")


KERNELS = {"ScaledDotProductFlashAttentionForCpuBackward0": "ScaledDotProductAttentionBackward0"}
"""Names of the kernels that PyTorch takes on this machine, and those of their ops."""


def _node(exchange: Exchange[Case]) -> dict[str, Any]:
    """Return the node of the op, an empty one where the DAG has none."""
    nodes: list[dict[str, Any]] = exchange.answer.body["dag"]["nodes"]
    return next((node for node in nodes if node["op"] == exchange.case.request["graph"]["ops"][0]["op"]), {})


def _recorded(case: Case) -> torch.Tensor | None:
    """Return the first result with a history, where that history is the op's own."""
    if case.op.entry in UNSIGNED:
        return None
    return next((output for output in case.reference.outputs if output.grad_fn is not None), None)


def _is_one_node(function: Any) -> bool:
    return all(after is None or after.name().endswith("AccumulateGrad") for after, _ in function.next_functions)


def grad_fn(exchange: Exchange[Case]) -> Verdict:
    """The node has PyTorch's name of the backward function; where PyTorch has several, one in that style."""
    case, named = exchange.case, _node(exchange).get("grad_fn")
    output = _recorded(case)
    if output is None:
        if any(output.requires_grad for output in case.reference.outputs):
            return None
        return [] if named is None else [f"grad_fn {named}, expected none"]
    if not _is_one_node(output.grad_fn):
        return (
            [] if re.fullmatch(r"\w+Backward\d+", named or "") else [f"grad_fn {named} is no name of PyTorch's style"]
        )
    expected = KERNELS.get(output.grad_fn.name(), output.grad_fn.name())
    return [] if named == expected else [f"grad_fn {named}, expected {expected}"]


def dag(exchange: Exchange[Case]) -> Verdict:
    """The node has the type of its result and names the leaves that the gradient goes on to, in PyTorch's order."""
    case, node = exchange.case, _node(exchange)
    first = case.reference.outputs[0]
    expected: dict[str, Any] = {
        "shape": list(first.shape),
        "dtype": NAMES[first.dtype],
        "requires_grad": any(output.requires_grad for output in case.reference.outputs),
        "is_leaf": False,
    }
    output = _recorded(case)
    if output is not None and _is_one_node(output.grad_fn):
        names = {id(leaf): name for leaf, name in zip(case.reference.leaves, case.names, strict=True)}
        after = [function for function, _ in output.grad_fn.next_functions if function is not None]
        expected["next_functions"] = [names[id(function.variable)] for function in after]
    return [f"{key} {node.get(key)}, expected {value}" for key, value in expected.items() if node.get(key) != value]


def refuses(exchange: Exchange[ErrorCase]) -> Verdict:
    """A call that PyTorch refuses is answered by a problem document that says where and why, and by no number."""
    answer, complaint = exchange.answer, exchange.case.complaint
    if not 400 <= answer.status < 500:
        return [f"answered with {answer.status}; PyTorch refuses it: {complaint}"]
    if answer.media_type != "application/problem+json":
        return [f"refused with a body of type {answer.media_type}"]
    members = ("type", "title", "status", "detail", "code", "request_id")
    problems = [f"the problem has no {name}" for name in members if not answer.body.get(name)]
    problems += [f"an error without {key}" for error in answer.body.get("errors", []) for key in _missing(error)]
    return problems


def _missing(error: dict[str, Any]) -> list[str]:
    return [key for key in ("pointer", "code", "detail") if key not in error]


SUITES: tuple[Suite, ...] = (
    Suite(
        partial(cases, dtype=torch.float64),
        (
            Check("value f64", values),
            Check("gradient f64", gradients),
            Check("grad_fn", grad_fn),
            Check("DAG", dag),
            Check("jvp", jvp),
            Check("transpose", transpose),
            Check("second", second),
            Check("vmap", vmap),
        ),
    ),
    Suite(
        partial(cases, dtype=torch.float32, default=torch.float32),
        (Check("value f32", values), Check("gradient f32", gradients)),
    ),
    Suite(partial(cases, dtype=torch.int64), (Check("value int64", values), Check("vmap int64", vmap))),
    Suite(error_cases, (Check("errors refused", refuses),), wants_refusal=True),
)

COLUMNS = tuple(check.column for suite in SUITES for check in suite.checks)
