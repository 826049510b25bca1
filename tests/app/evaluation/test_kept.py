"""What is kept of requests is counted in bytes, and takes no more than it counts."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import orjson
import pytest

from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings

STEPS = 40


def chain(steps: int, value: float) -> dict[str, Any]:
    """A graph of four ops for each step, one behind the other."""
    ops: list[dict[str, Any]] = []
    last = "x"
    for step in range(steps):
        for op, inputs, output in (
            ("tanh", [last], f"bent{step}"),
            ("mul", [f"bent{step}", "scale"], f"scaled{step}"),
            ("sub", [f"scaled{step}", "shift"], f"change{step}"),
            ("add", [last, f"change{step}"], f"x{step}"),
        ):
            ops.append({"op": op, "inputs": inputs, "output": output})
        last = f"x{step}"
    ops.append({"op": "sum", "inputs": [last], "output": "loss"})
    tensors = {name: {"data": [value] * 16, "requires_grad": True} for name in ("x", "scale", "shift")}
    return {"graph": {"tensors": tensors, "ops": ops}}


CALLS: dict[str, dict[str, Any]] = {
    "forward": {},
    "gradients": {},
    "hessian": {},
    "jacobian": {"wrt": ["x", "scale"]},
    "hvp": {"vectors": {"x": {"data": [1.0] * 16}}},
    "explain": {},
    "check": {},
}


def asked(evaluator: Evaluator, operation: str, steps: int) -> None:
    """Ask often enough that small plans are made into straight-line code."""
    for number in range(1 if operation == "check" else 6):
        body = {**chain(steps, 0.1 + number / 100), **CALLS[operation]}
        evaluator.answer(Call(operation, orjson.dumps(body)))


@pytest.mark.parametrize("operation", CALLS)
def test_what_is_kept_takes_no_more_bytes_than_it_counts(operation: str) -> None:
    evaluator = Evaluator(Settings())
    asked(evaluator, operation, 3)
    counted = evaluator.kept_bytes
    gc.collect()
    tracemalloc.start()
    try:
        asked(evaluator, operation, STEPS)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < taken <= evaluator.kept_bytes - counted


def test_plans_are_forgotten_beyond_the_bytes_that_they_may_take() -> None:
    evaluator = Evaluator(Settings(cached_plan_bytes=2**20))
    for steps in range(STEPS, STEPS + 30):
        asked(evaluator, "forward", steps)
    assert 2**19 < evaluator.kept_bytes <= 2**21
