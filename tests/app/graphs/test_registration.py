"""What is refused when a graph is registered: faults that hold for every call of it, and no others."""

from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest, TimedOut, pointer
from app.graphs import registration
from app.settings import Settings
from app.wire.codec import JSON
from tests.app.bodies import op, request, tensor, wanted


def register(body: Any, deadline: float | None = None, **settings: Any) -> list[str]:
    return registration.read(orjson.dumps(body), JSON, Settings(**settings), deadline)[1]


def faults(body: Any, **settings: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refused:
        register(body, **settings)
    assert all(fault.detail and fault.hint for fault in refused.value.faults)
    return [(pointer(fault.path), fault.code) for fault in refused.value.faults]


X = {"shape": [None, 4]}
W = {"shape": [4, 3], "requires_grad": True}
MATMUL = op("matmul", ["x", "w"], "y")


@pytest.mark.parametrize(
    ("tensors", "needs"),
    [
        ({"x": [[1, 2, 3, 4]], "w": [[1]] * 4}, []),
        ({"x": X, "w": [[1]] * 4}, ["x"]),
        ({"w": W, "x": X}, ["w", "x"]),
        ({"x": {"shape": [2, 4]}, "w": {"shape": [4, 0]}}, ["w", "x"]),
    ],
)
def test_tensors_may_lack_values(tensors: dict[str, Any], needs: list[str]) -> None:
    assert register(request(tensors, MATMUL)) == needs


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("fits for one size", [op("matmul", ["w", "x"], "y")]),
        ("fits for two sizes", [op("matmul", ["w", "x"], "y"), op("add", ["y", {"number": 1}], "z")]),
        ("a size that only one call has", [op("reshape", ["x"], "y", attributes={"shape": [7, 5]})]),
        ("as many results as one size has", [op("split", ["x", 1], ["a", "b", "c", "d", "e", "f", "g"])]),
        ("an index within some sizes", [op("select", ["x", 0, 1000], "y")]),
        ("a dimension that is there unless it is dropped", [op("squeeze", ["x"], "v"), op("sum", ["v", 1], "y")]),
    ],
)
def test_what_is_right_for_some_size_is_registered(name: str, ops: list[dict[str, Any]]) -> None:
    assert register(request({"x": X, "w": W}, *ops)) == ["w", "x"]


OPEN = {"x": X, "w": W, "k": {"shape": [None], "dtype": "int64"}}


@pytest.mark.parametrize(
    ("place", "code", "ops"),
    [
        ("#/graph/ops/0/op", "unknown_op", [op("matmull", ["x", "w"], "y")]),
        ("#/graph/ops/0/inputs/1", "unknown_tensor", [op("matmul", ["x", "v"], "y")]),
        ("#/graph/ops/0/attributes/dims", "unknown_parameter", [op("softmax", ["x", 1], "y", attributes={"dims": 1})]),
        ("#/graph/ops/0", "missing_argument", [op("softmax", ["x"], "y")]),
        ("#/graph/ops/0/inputs/1", "argument_type", [op("softmax", ["x", 0.5], "y")]),
        ("#/graph/ops/0/inputs/2", "too_many_arguments", [op("matmul", ["x", "w", "w"], "y")]),
        ("#/graph/ops/0", "cycle", [op("exp", ["z"], "y"), op("exp", ["y"], "z")]),
        ("#/graph/ops/1/output", "duplicate_name", [MATMUL, op("exp", ["x"], "y")]),
        ("#/graph/ops/0/inputs/0", "dtype", [op("softmax", ["k"], "y", attributes={"dim": 0})]),
        ("#/graph/ops/1/inputs/1", "shape_mismatch", [MATMUL, op("matmul", ["w", "w"], "z")]),
        ("#/graph/ops/1/op", "unknown_op", [op("matmul", ["w", "x"], "y"), op("exxp", ["y"], "z")]),
        ("#/graph/ops/1/attributes/q", "unknown_parameter", [MATMUL, op("exp", ["y"], "z", attributes={"q": 1})]),
    ],
)
def test_what_is_wrong_for_every_size_is_refused(place: str, code: str, ops: list[dict[str, Any]]) -> None:
    assert faults(request(OPEN, *ops)) == [(place, code)]


@pytest.mark.parametrize(
    ("below", "code", "value"),
    [
        ("/shape", "missing_member", {"dtype": "float32"}),
        ("/shape/0", "invalid_size", {"shape": [-1]}),
        ("/shape/1", "invalid_size", {"shape": [None, "any"]}),
        ("/shape/0", "invalid_size", {"shape": [None], "data": [1, 2]}),
        ("/data", "null_value", {"shape": [2], "data": None}),
        ("/data/1", "not_a_number", tensor([1, "two"])),
        ("/dtype", "unknown_dtype", {"shape": [None], "dtype": "real"}),
        ("/requires_grad", "not_differentiable", {"shape": [None], "dtype": "int64", "requires_grad": True}),
        ("", "rank_limit", {"shape": [None] * 33}),
        ("", "elements_limit", {"shape": [2**40, 2**40]}),
    ],
)
def test_faults_of_a_tensor(below: str, code: str, value: Any) -> None:
    assert faults(request({"t": value})) == [(f"#/graph/tensors/t{below}", code)]


def test_where_all_sizes_are_known_shapes_must_fit() -> None:
    assert faults(request({"x": {"shape": [2, 3]}, "w": W}, MATMUL)) == [("#/graph/ops/0/inputs/1", "shape_mismatch")]
    assert faults(request({"x": [[1, 2]], "w": W}, MATMUL)) == [("#/graph/ops/0/inputs/1", "shape_mismatch")]


def test_all_faults_come_in_one_answer() -> None:
    body = {**request({"x": [[1], [2, 3]], "y": {"shape": [None, -1]}}, {"op": "exp"}), "vmap": {}}
    assert set(faults(body)) == {
        ("#/vmap", "unknown_member"),
        ("#/graph/tensors/x/1", "ragged_data"),
        ("#/graph/tensors/y/shape/1", "invalid_size"),
        ("#/graph/ops/0/output", "missing_member"),
    }


@pytest.mark.parametrize("body", [[], 1, None, {}, {"graph": []}, {"graph": {}}, {"graph": {"tensors": 1}}])
def test_what_is_no_registration_is_refused(body: Any) -> None:
    assert faults(body)


def test_a_large_graph_is_refused() -> None:
    body = request({"x": wanted([0] * 100)})
    assert faults(body, max_graph_bytes=800) == [("#/graph", "graph_bytes_limit")]
    assert register(body, max_graph_bytes=2000) == []


def test_a_graph_that_is_not_looked_through_in_time_is_refused() -> None:
    chain = [op("exp", ["x" if not index else f"e{index - 1}"], f"e{index}") for index in range(2000)]
    with pytest.raises(TimedOut):
        register(request({"x": X}, *chain), deadline=0.0)
