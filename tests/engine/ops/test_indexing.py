"""What the laws cannot hold of creation, joining and indexing: refused values and arguments, dtypes, and gradients that
are PyTorch's and no derivatives. Expected values are those of torch 2.13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import engine.ops  # noqa: F401
from engine.compile.compile import compile as compile_program
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.errors import GraphError, ValueFault
from engine.graph.limits import Limits
from engine.graph.types import DTYPES
from engine.program.program import Argument, Leaf, OpCall, Program, Ref

MATRIX = np.arange(6.0).reshape(2, 3)


def run(
    op: str, *inputs: Any, wrt: tuple[int, ...] = (), **attributes: Any
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return an op's results, and the gradients of the sum of the first with respect to the inputs at `wrt`."""
    arrays = {f"t{place}": given for place, given in enumerate(inputs) if isinstance(given, np.ndarray)}
    leaves = {
        name: Leaf(DTYPES[array.dtype.name], array.shape, requires_grad=int(name[1:]) in wrt)
        for name, array in arrays.items()
    }
    arguments: tuple[Argument, ...] = tuple(
        Ref(f"t{place}") if isinstance(given, np.ndarray) else given for place, given in enumerate(inputs)
    )
    calls = [OpCall(op, arguments, attributes, "y")]
    request: ForwardRequest | GradientRequest = ForwardRequest(outputs=("y",))
    if wrt:
        calls.append(OpCall("sum", (Ref("y"),), {}, "total"))
        names = tuple(f"t{place}" for place in wrt)
        request = GradientRequest(backward={"total": None}, wrt=names, outputs=("y",))
    compiled = compile_program(Program(leaves, tuple(calls)), request, Limits())
    results = compiled.run({("tensors", name): array for name, array in arrays.items()})
    return list(results["outputs"].values()), list(results.get("gradients", {}).values())


def value(op: str, *inputs: Any, **attributes: Any) -> np.ndarray:
    """Return the single result of an op."""
    return run(op, *inputs, **attributes)[0][0]


@pytest.mark.parametrize("index", [3, -1, 2**40, -(2**40)])
@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("index_select", lambda index: (MATRIX, 1, np.array([0, index]))),
        ("gather", lambda index: (MATRIX, 1, np.array([[0], [index]]))),
        ("scatter", lambda index: (MATRIX, 1, np.array([[0], [index]]), 1.0)),
        ("scatter_add", lambda index: (MATRIX, 1, np.array([[0], [index]]), MATRIX)),
        ("embedding", lambda index: (np.array([0, index]), MATRIX.T.copy())),
        ("one_hot", lambda index: (np.array([0, index]), 3)),
        ("narrow", lambda index: (MATRIX, 1, np.array(index if index > 0 else index - 3), 1)),
    ],
)
def test_an_index_out_of_range_is_a_fault_of_the_op_that_met_it(op: str, arguments: Any, index: int) -> None:
    with pytest.raises(ValueFault, match="out of range for a dimension of size 3") as caught:
        run(op, *arguments(index))
    assert caught.value.fault.code == "index_out_of_range"
    assert caught.value.fault.path == ("graph", "ops", 0)


def test_take_along_dim_counts_around_the_dimension_and_refuses_it_on_the_flattened_input() -> None:
    np.testing.assert_array_equal(value("take_along_dim", MATRIX, np.array([[-4, 5]]), 1), [[2, 2], [5, 5]])
    with pytest.raises(ValueFault):
        value("take_along_dim", MATRIX, np.array([-1]))


def test_indices_of_floating_dtype_are_told_to_declare_theirs() -> None:
    with pytest.raises(GraphError) as caught:
        value("index_select", MATRIX, 0, np.array([0.0]))
    fault = caught.value.faults[0]
    assert fault.path == ("graph", "ops", 0, "inputs", 2)
    assert "int64" in fault.hint


def test_equal_indices_of_a_scatter_keep_the_last_and_share_the_gradient() -> None:
    source = np.array([[5.0, 6.0], [7.0, 8.0]])
    (result,), (grad, grad_source) = run("scatter", MATRIX, 1, np.array([[0, 0], [1, 2]]), source, wrt=(0, 3))
    np.testing.assert_array_equal(result, [[6, 1, 2], [3, 7, 8]])
    np.testing.assert_array_equal(grad, [[0, 1, 1], [1, 0, 0]])
    np.testing.assert_array_equal(grad_source, np.ones((2, 2)))


def test_integers_are_added_exactly() -> None:
    index, big = np.array([0, 0]), np.array([2**53 + 1, 2])
    np.testing.assert_array_equal(value("scatter_add", np.array([0, 1]), 0, index, big), [2**53 + 3, 1])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 3, 0, 0, 1]),
        ({"padding_idx": -1}, [1, 3, 0, 0, 0]),
        ({"scale_grad_by_freq": True}, [1, 1, 0, 0, 1]),
        ({"scale_grad_by_freq": True, "padding_idx": 1}, [1, 0, 0, 0, 1]),
        ({"sparse": True}, [1, 3, 0, 0, 1]),
    ],
)
def test_embedding_gradients(options: dict[str, Any], expected: list[float]) -> None:
    weight = np.arange(10.0).reshape(5, 2)
    index = np.array([0, 1, 1, 4, 1])
    (rows,), (gradient,) = run("embedding", index, weight, wrt=(1,), **options)
    np.testing.assert_array_equal(rows, weight[index])
    np.testing.assert_array_equal(gradient, np.repeat(np.array(expected)[:, None], 2, axis=1))


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "dtype", "expected"),
    [
        ("arange", (5,), {}, "int64", [0, 1, 2, 3, 4]),
        ("arange", (1, 2.5), {}, "float64", [1, 2]),
        ("arange", (2.7,), {"dtype": "int64"}, "int64", [0, 1]),
        ("arange", (2.7,), {"dtype": "int32"}, "int32", [0, 1, 2]),
        ("arange", (-3, 2), {"dtype": "uint8"}, "uint8", [253, 254, 255, 0, 1]),
        ("linspace", (10, 0, 4), {"dtype": "int64"}, "int64", [10, 6, 3, 0]),
        ("linspace", (0, 1, 1), {}, "float64", [0]),
        ("full", ((2,), 3), {}, "int64", [3, 3]),
        ("full", ((2,), True), {}, "bool", [True, True]),
        ("full", ((2,), 1.5), {"dtype": "int64"}, "int64", [1, 1]),
        ("full", ((2,), -1), {"dtype": "uint8"}, "uint8", [255, 255]),
    ],
)
def test_created_values(
    op: str, inputs: tuple[Any, ...], attributes: dict[str, Any], dtype: str, expected: list[Any]
) -> None:
    result = value(op, *inputs, **attributes)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "code"),
    [
        ("arange", (0, 5, -1), {}, "range"),
        ("arange", (0, 1e308, 1e-300), {}, "elements_limit"),
        ("zeros", (0, 10**18), {}, "elements_limit"),
        ("repeat", (MATRIX, 0, 10**18), {}, "elements_limit"),
        ("full", ((2,), 300), {"dtype": "uint8"}, "overflow"),
        ("chunk", (np.zeros((0, 2)), 10**9), {}, "too_many_results"),
        ("unbind", (np.zeros((0, 2)),), {}, "shape"),
        ("one_hot", (np.array([1]),), {}, "num_classes"),
        ("embedding", (np.array([1]), MATRIX), {"max_norm": 1.0}, "inplace"),
        ("cat", ((),), {}, "missing_argument"),
        ("pad", (MATRIX, (3, 0)), {"mode": "reflect"}, "shape"),
    ],
)
def test_refused_arguments(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any], code: str) -> None:
    with pytest.raises(GraphError) as caught:
        run(op, *inputs, **attributes)
    assert [fault.code for fault in caught.value.faults] == [code]
    assert all(fault.hint for fault in caught.value.faults)
