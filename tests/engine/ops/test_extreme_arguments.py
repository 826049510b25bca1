"""Every op gives a fault or a result, and no other error: for numbers at the edges of their types, for sizes of 0."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from engine import (
    DTYPES,
    DType,
    ForwardRequest,
    GraphError,
    JacobianRequest,
    Limits,
    OpCall,
    Program,
    ValueFault,
    compile_request,
    output_names,
)
from engine.graph.op import REGISTRY
from tests.engine.programs import given, sample_program, with_outputs

EDGES = (0, -1, 2**63 - 1, 0.0, 1e-50, 1e39, -1e308, math.inf, math.nan)
LIMITS = Limits(rank=8, elements=2**14, nodes=5000, bytes=2**24)
SAMPLES = 4


def is_number(value: Any) -> bool:
    """Whether an argument is a number, or a list of numbers."""
    items = value if isinstance(value, tuple) else (value,)
    return bool(items) and all(isinstance(item, int | float) for item in items)


def edged(value: Any, edge: float) -> Any:
    """Return an argument of the same form with an edge in place of each number."""
    return (edge,) * len(value) if isinstance(value, tuple) else edge


def variants(call: OpCall) -> Iterator[OpCall]:
    """Yield the call with each number replaced, each optional number given, and all of them at once."""
    numbers = [
        parameter.name
        for parameter in REGISTRY[call.op].signature.parameters
        if not parameter.required and {int, float} & set(parameter.takes)
    ]
    attributes = {**dict.fromkeys(numbers, 0), **call.attributes}
    named = [name for name, value in attributes.items() if is_number(value)]
    inputs = call.inputs if isinstance(call.inputs, tuple) else ()
    placed = [place for place, value in enumerate(inputs) if is_number(value)]
    chosen: list[tuple[list[str], list[int]]] = [([name], []) for name in named]
    chosen += [([], [place]) for place in placed]
    for edge in EDGES:
        for names, places in [*chosen, (named, placed)] if named or placed else []:
            yield replace(
                call,
                inputs=tuple(edged(value, edge) if place in places else value for place, value in enumerate(inputs))
                or call.inputs,
                attributes={**call.attributes, **{name: edged(attributes[name], edge) for name in names}},
            )


def typed(name: str, dtype: DType | None) -> Iterator[tuple[Program, dict[str, Any]]]:
    """Yield the programs of an op's samples with their values; with another dtype for floating tensors, if given."""
    for sample in REGISTRY[name].samples[:SAMPLES]:
        made, values = sample_program(name, sample)
        made = with_outputs(made)
        if dtype is not None:
            floating = {key for key, leaf in made.tensors.items() if leaf.dtype.is_floating}
            values |= {key: values[key].astype(dtype.numpy) for key in floating}
            leaves = {key: replace(made.tensors[key], dtype=dtype, requires_grad=False) for key in floating}
            made = replace(made, tensors={**made.tensors, **leaves})
        yield made, values


@pytest.mark.parametrize("dtype", [None, DTYPES["int64"]], ids=str)
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_number_at_an_edge_is_a_fault_or_has_a_result(name: str, dtype: DType | None) -> None:
    for made, values in typed(name, dtype):
        for call in variants(made.ops[0]):
            outputs = tuple(output for output in output_names(call) if output)
            wanted = JacobianRequest(outputs=outputs) if dtype is None else ForwardRequest()
            with suppress(GraphError, ValueFault):
                compiled = compile_request(replace(made, ops=(call,)), wanted, LIMITS)
                compiled.run(given(values))


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_size_of_zero_is_a_fault_or_has_a_result(name: str) -> None:
    for sample in REGISTRY[name].samples:
        made, values = sample_program(name, sample)
        made = with_outputs(made)
        outputs = tuple(output for output in output_names(made.ops[0]) if output)
        for size in {size for leaf in made.tensors.values() for size in leaf.shape}:
            emptied = {
                key: value[tuple(slice(0 if count == size else None) for count in value.shape)]
                for key, value in values.items()
            }
            tensors = {key: replace(leaf, shape=emptied[key].shape) for key, leaf in made.tensors.items()}
            for ops in (made.ops, tuple(variants(made.ops[0]))[-1:]):
                with suppress(GraphError, ValueFault):
                    program = Program(tensors, ops, made.dtype)
                    compiled = compile_request(program, JacobianRequest(outputs=outputs), LIMITS)
                    compiled.run(given(emptied))
